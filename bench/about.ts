/** What the engine says of itself on the Node.js that runs this, as JSON. */
import { getEngine } from '#built/engine/engine'

const { openssl, cpu, threads, fallback } = getEngine().info()
if (fallback) throw new Error(`this would measure something else: ${fallback}`)
console.log(JSON.stringify({ node: process.version, openssl, cpu, threads }))

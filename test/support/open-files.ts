import { readdirSync, readlinkSync } from 'node:fs'

/** How many files of this folder this process has open, those without a name included. */
export function openFilesIn(folder: string): number {
  const links = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`)
    } catch {
      return ''
    }
  })
  return links.filter((link) => link.startsWith(folder)).length
}

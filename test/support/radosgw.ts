/** RADOS Gateway: an S3 server of others, on loopback, where Debian's radosgw, ceph-mon, ceph-osd and ceph-common are installed. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { accessSync, constants, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { S3ClientConfig } from '@aws-sdk/client-s3'

const PROGRAMS = ['radosgw', 'radosgw-admin', 'ceph-mon', 'ceph-osd', 'ceph', 'monmaptool']
const CREDENTIALS = { accessKeyId: 'rgwaccess', secretAccessKey: 'rgwsecret' }
const START_TIMEOUT = 120_000

export interface RadosGateway {
  readonly endpoint: string
  readonly credentials: typeof CREDENTIALS
  readonly config: S3ClientConfig
  close(): Promise<void>
}

/** `undefined`, with a word about it, where it is not installed. */
export async function startRadosGateway(): Promise<RadosGateway | undefined> {
  const missing = PROGRAMS.filter((name) => !isInstalled(name))
  if (missing.length > 0) {
    console.log(
      `NOT RUN: RADOS Gateway, as ${missing.join(', ')} are not installed (apt-get install radosgw ceph-mon ceph-osd ceph-common)`,
    )
    return undefined
  }
  const folder = mkdtempSync(join(tmpdir(), 'sealwax-rgw-'))
  const children: ChildProcess[] = []
  const close = async () => {
    for (const child of children.reverse()) {
      if (child.exitCode !== null || child.signalCode !== null) continue
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
    rmSync(folder, { recursive: true, force: true })
  }
  process.once('exit', () => {
    for (const child of children) child.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  })
  try {
    const endpoint = await start(folder, children)
    const config = { endpoint, region: 'us-east-1', credentials: CREDENTIALS, forcePathStyle: true }
    return { endpoint, credentials: CREDENTIALS, config, close }
  } catch (error) {
    await close()
    throw error
  }
}

function isInstalled(name: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

/** One monitor and one store in memory, without authentication among themselves, and one gateway. */
async function start(folder: string, children: ChildProcess[]): Promise<string> {
  const [port, mon, monV1] = await freePorts(3)
  const at = (name: string) => join(folder, name)
  for (const name of ['mon', 'osd', 'rgw', 'run', 'log']) mkdirSync(at(name))
  const fsid = randomUUID()
  writeFileSync(at('ceph.conf'), configuration(folder, fsid, { port: port!, mon: mon!, monV1: monV1! }))
  const env = { ...process.env, CEPH_CONF: at('ceph.conf') }
  const run = async (program: string, ...args: string[]) => {
    return (await promisify(execFile)(program, args, { env, timeout: 30_000 })).stdout
  }
  const serve = (name: string, program: string, ...args: string[]) => {
    const log = openSync(at(`log/${name}.out`), 'w')
    children.push(spawn(program, ['-f', ...args], { env, stdio: ['ignore', log, log] }))
  }
  const address = `[v2:127.0.0.1:${mon},v1:127.0.0.1:${monV1}]`
  await run('monmaptool', '--create', '--clobber', '--fsid', fsid, '--addv', 'a', address, at('monmap'))
  await run('ceph-mon', '--mkfs', '-i', 'a', '--monmap', at('monmap'))
  serve('mon', 'ceph-mon', '-i', 'a')
  await until(() => isOpen(mon!))
  const osd = randomUUID()
  await run('ceph', 'osd', 'new', osd)
  await run('ceph-osd', '-i', '0', '--mkfs', '--osd-uuid', osd)
  serve('osd', 'ceph-osd', '-i', '0')
  await until(async () => (await run('ceph', 'osd', 'stat')).includes('1 up'))
  serve('rgw', 'radosgw', '-n', 'client.rgw.a')
  await until(() => isOpen(port!))
  const { accessKeyId, secretAccessKey } = CREDENTIALS
  const keys = [`--access-key=${accessKeyId}`, `--secret-key=${secretAccessKey}`]
  await run('radosgw-admin', '-n', 'client.rgw.a', 'user', 'create', '--uid=test', '--display-name=test', ...keys)
  return `http://127.0.0.1:${port}`
}

function configuration(folder: string, fsid: string, ports: { port: number; mon: number; monV1: number }): string {
  const { port, mon, monV1 } = ports
  return `[global]
fsid = ${fsid}
mon_host = [v2:127.0.0.1:${mon},v1:127.0.0.1:${monV1}]
mon_initial_members = a
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_port_min = 20000
ms_bind_port_max = 29999
run_dir = ${folder}/run
admin_socket = ${folder}/run/$name.asok
pid_file =
log_file = ${folder}/log/$name.log
log_to_stderr = false
err_to_stderr = false
mon_cluster_log_file = ${folder}/log/cluster.log
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 2000
mon_data_avail_crit = 1
mon_data_avail_warn = 2
debug_none = 0
[mon]
mon_data = ${folder}/mon
[osd]
osd_data = ${folder}/osd
osd_objectstore = memstore
memstore_device_bytes = 2147483648
osd_class_load_list = *
osd_class_default_list = *
osd_memory_target = 1073741824
[client.rgw.a]
rgw_data = ${folder}/rgw
rgw_frontends = beast endpoint=127.0.0.1:${port}
ms_mon_client_mode = crc
rgw_thread_pool_size = 64
rgw_crypt_require_ssl = false
rgw_crypt_s3_kms_backend = testing
rgw_crypt_s3_kms_encryption_keys = testkey-1=${Buffer.alloc(32, 7).toString('base64')}
rgw_enable_usage_log = false
rgw_enable_ops_log = false
rgw_run_sync_thread = false
`
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(servers.map((server) => once(server, 'listening')))
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => once(server.close(), 'close')))
  return ports
}

async function until(isReady: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT
  while (!(await isReady())) {
    if (Date.now() > deadline) throw new Error('RADOS Gateway does not start')
    await setTimeout(50)
  }
}

function isOpen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}

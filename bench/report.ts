/** Results as one page that needs nothing else, and as the chart of the README. */
import { type Finding, type Findings, ratio, show, showRatio, YARDSTICKS } from './comparison'
import type { Results, Run } from './suite'

type PlotOptions = import('@observablehq/plot', { with: { 'resolution-mode': 'import' }}).PlotOptions

const COLORS: Readonly<Record<string, string>> = {
  sealwax: '#b3261e',
  'sealwax into': '#ef8a62',
  'sealwax on node': '#d9a441',
  'client-node': '#2b5c8a',
  'node:crypto': '#3c8d5a',
  WebCrypto: '#6fae9e',
  '@noble/ciphers': '#8661a8',
  'node-forge': '#b08bbf',
  sjcl: '#7a7a7a',
  'no encryption': '#aaaaaa',
  limit: '#222222',
  'limit, 1 thread': '#999999',
}
const OTHER_COLOR = '#666666'

const STYLE = `
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1c1c; max-width: 76rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.7rem } h2 { margin-top: 3rem; border-top: 1px solid #ddd; padding-top: 1rem }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums }
th, td { padding: 3px 10px; text-align: right; border-bottom: 1px solid #eee; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
.scroll { overflow-x: auto } .charts { display: flex; flex-wrap: wrap; gap: 1rem 2rem } figure { margin: 1rem 0 }
figcaption { font-weight: 600 } .ours { font-weight: 600; color: ${COLORS.sealwax} } .note { color: #555 }
.key span { display: inline-block; margin-right: 1.2em } .key i { display: inline-block; width: 1em; height: .6em; margin-right: .4em }
`

export async function renderPage(results: Results): Promise<string> {
  const sections: string[] = []
  for (const run of results.runs) {
    sections.push(`<h1>Node.js ${escapeHtml(run.node)}, ${escapeHtml(run.openssl)}</h1>`)
    sections.push(`<p class="note">${escapeHtml(run.cpu.join(', '))}; up to ${run.threads} threads a call</p>`)
    sections.push(slowerThanOthers(run))
    for (const findings of run.findings) sections.push(await section(findings))
  }
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Sealwax: benchmarks</title><style>${STYLE}</style>
<body><h1>Sealwax: benchmarks</h1>
<p>${escapeHtml(results.machine)}; ${escapeHtml(results.date)}. Every contender runs in its own process, and its output is compared
before it is timed. Medians; the pale bands are the 10th to the 90th percentile. Made by <code>npm run bench</code>.</p>
${sections.join('\n')}</body></html>\n`
}

/** The cases in which something else was faster; the limit is meant to be. */
function slowerThanOthers({ findings }: Run): string {
  const lines = findings.flatMap(({ title, results }) =>
    results.flatMap((one) =>
      ['client-node', 'node:crypto'].flatMap((other) => {
        const times = ratio(one, other)
        return times !== undefined && times < 1
          ? [
              `<li>${escapeHtml(title)}, ${escapeHtml(one.name)}: ${showRatio(times)} the speed of ${escapeHtml(other)}</li>`,
            ]
          : []
      }),
    ),
  )
  return lines.length > 0
    ? `<p>Slower than client-node or than node:crypto by hand:</p><ul>${lines.join('')}</ul>`
    : '<p>In no case slower than client-node or than node:crypto by hand.</p>'
}

async function section(findings: Findings): Promise<string> {
  const { title, about, contenders, results } = findings
  const charts: string[] = []
  for (const series of new Set(results.map((one) => one.series))) {
    const cases = results.filter((one) => one.series === series)
    const drawing = cases.length > 2 ? await lines(cases, contenders) : await bars(cases, contenders)
    charts.push(`<figure><figcaption>${escapeHtml(series)}</figcaption>${drawing}</figure>`)
  }
  const key = contenders
    .map((name) => `<span><i style="background:${color(name)}"></i>${escapeHtml(name)}</span>`)
    .join('')
  const yardsticks = YARDSTICKS.filter((name) => contenders.includes(name))
  const header = ['', ...contenders, ...yardsticks.map((name) => `x ${name}`), 'memory'].map(
    (cell) => `<th>${escapeHtml(cell)}</th>`,
  )
  const rows = results.map((one) => {
    const cells = contenders.map((name) => `<td${name === 'sealwax' ? ' class="ours"' : ''}>${show(one, name)}</td>`)
    const ratios = yardsticks.map((name) => `<td>${showRatio(ratio(one, name))}</td>`)
    const memory = one.samples.sealwax ? `${one.samples.sealwax.memory.toFixed(0)} MiB` : '-'
    return `<tr><td>${escapeHtml(one.name)}</td>${cells.join('')}${ratios.join('')}<td>${memory}</td></tr>`
  })
  return `<h2>${escapeHtml(title)}</h2><p>${escapeHtml(about)}</p><p class="key">${key}</p>
<div class="charts">${charts.join('\n')}</div>
<div class="scroll"><table><tr>${header.join('')}</tr>${rows.join('\n')}</table></div>`
}

/** The one chart that tells most: messages in default frames, by length. Undefined where they were not measured. */
export async function renderChart({ runs }: Results): Promise<string | undefined> {
  const messages = runs[0]?.findings.find(({ contenders }) => contenders.includes('sealwax into'))
  const cases = messages?.results.filter(({ series }) => series === 'encrypt, frames of 4 KiB, unsigned') ?? []
  return cases.length > 2 ? lines(cases, ['client-node', 'node:crypto', 'sealwax'], true) : undefined
}

/** Throughput by length, both on logarithmic scales; with `named`, each line tells whose it is. */
async function lines(cases: readonly Finding[], contenders: readonly string[], named = false): Promise<string> {
  const Plot = await import('@observablehq/plot')
  const points = cases.flatMap(({ bytes, samples }) =>
    contenders.flatMap((contender) => {
      const found = samples[contender]
      const speed = (milliseconds: number) => bytes / 1e3 / milliseconds
      return found
        ? [{ contender, bytes, speed: speed(found.median), low: speed(found.high), high: speed(found.low) }]
        : []
    }),
  )
  const stroke = (point: { contender: string }) => color(point.contender)
  const at = { x: 'bytes', y: 'speed', z: 'contender', text: 'contender' }
  const label = { ...at, fill: stroke, dx: 6, textAnchor: 'start', fontWeight: 600 } as const
  return draw(
    [
      Plot.areaY(points, { x: 'bytes', y1: 'low', y2: 'high', z: 'contender', fill: stroke, fillOpacity: 0.12 }),
      Plot.lineY(points, { x: 'bytes', y: 'speed', z: 'contender', stroke, strokeWidth: 2 }),
      Plot.dot(points, { x: 'bytes', y: 'speed', fill: stroke, r: 2.5 }),
      ...(named ? [Plot.text(points, Plot.selectLast(label))] : []),
    ],
    {
      width: named ? 720 : 560,
      height: 340,
      marginLeft: 60,
      marginRight: named ? 90 : 20,
      x: {
        type: 'log',
        base: 2,
        label: 'bytes',
        ticks: [...new Set(points.map(({ bytes }) => bytes))],
        tickFormat: shortLength,
      },
      y: { type: 'log', label: 'MB/s', grid: true, tickFormat: '~s' },
    },
  )
}

/** Time of a call by contender: where there is no length to draw it by. */
async function bars(cases: readonly Finding[], contenders: readonly string[]): Promise<string> {
  const Plot = await import('@observablehq/plot')
  const data = cases.flatMap(({ name, samples }) =>
    contenders.flatMap((contender) => {
      const found = samples[contender]
      return found ? [{ name, contender, time: found.median, low: found.low, high: found.high }] : []
    }),
  )
  return draw(
    [
      Plot.barX(data, {
        x: 'time',
        y: 'contender',
        fy: 'name',
        fill: ({ contender }: { contender: string }) => color(contender),
      }),
      Plot.ruleY(data, { x1: 'low', x2: 'high', y: 'contender', fy: 'name' }),
    ],
    {
      width: 560,
      marginLeft: 130,
      marginRight: 170,
      x: { label: 'ms', grid: true },
      y: { label: null, domain: contenders.filter((name) => data.some(({ contender }) => contender === name)) },
      fy: { label: null },
    },
  )
}

async function draw(marks: unknown[], options: object): Promise<string> {
  const Plot = await import('@observablehq/plot')
  const { parseHTML } = await import('linkedom')
  const { document } = parseHTML('<!doctype html><html><body></body></html>')
  const svg = Plot.plot({ ...options, marks, document } as PlotOptions)
  svg.setAttribute('xmlns', 'http://www.w3.org/2000/svg')
  return svg.outerHTML
}

function color(contender: string): string {
  return COLORS[contender] ?? OTHER_COLOR
}

function shortLength(bytes: number): string {
  if (bytes >= 2 ** 30) return `${bytes / 2 ** 30}G`
  if (bytes >= 2 ** 20) return `${bytes / 2 ** 20}M`
  return bytes >= 1024 ? `${bytes / 1024}K` : `${bytes}`
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`)
}

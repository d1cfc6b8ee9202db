/** The options that build a graph of nodes and exports, as they stand on the command line. */

/** Options that build a graph. */
export const GRAPH_OPTIONS = ['object', 'blockdev', 'export'] as const

export interface GraphStep {
  option: (typeof GRAPH_OPTIONS)[number]
  value: string
}

/** Takes the graph's options out of a command line, in their order: yargs keeps no order between options. */
export function graphSteps(argv: readonly string[]): GraphStep[] {
  const steps: GraphStep[] = []
  for (let i = 0; i < argv.length && argv[i] !== '--'; i++) {
    const [, name, value] = /^--([a-z]+)(?:=(.*))?$/s.exec(argv[i]!) ?? []
    const option = GRAPH_OPTIONS.find((one) => one === name)
    // yargs has seen that a value follows.
    if (option) steps.push({ option, value: value ?? argv[++i]! })
  }
  return steps
}

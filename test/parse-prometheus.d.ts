declare module "parse-prometheus-text-format" {
  /** Families of metrics, by the name in their `# TYPE` line. */
  export default function parsePrometheusTextFormat(text: string): readonly { readonly name: string; readonly type: string; readonly metrics: readonly unknown[] }[];
}

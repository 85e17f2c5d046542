// Reads a JSON list of {name, text} from standard input, gives each text to Mermaid's own parser,
// and writes a JSON list of {name, kind, error}: the kind of diagram, or why it was refused.
import { readFileSync } from "node:fs";
import { JSDOM } from "jsdom";

// Mermaid looks for a browser while it is being imported.
const { window } = new JSDOM("<!DOCTYPE html><body></body>");
globalThis.window = window;
globalThis.document = window.document;
const { default: mermaid } = await import("mermaid");
// The exported diagrams are larger than what Mermaid draws unasked; readers of them raise these.
mermaid.initialize({ startOnLoad: false });

const verdicts = [];
for (const { name, text } of JSON.parse(readFileSync(0, "utf8"))) {
  try {
    const { diagramType } = await mermaid.parse(text);
    verdicts.push({ name, kind: diagramType, error: null });
  } catch (refusal) {
    verdicts.push({ name, kind: null, error: String(refusal?.message ?? refusal) });
  }
}
process.stdout.write(JSON.stringify(verdicts));

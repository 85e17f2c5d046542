// Walks the page's stepper along given walks. Reads {stepper, systems} from standard input: the file
// of the stepper, and systems of {rules, walks}; a walk is a list of label codes. Writes, per system,
// per walk, per state: [joint state, codes of all that can happen in it]. A system may also have
// environments: then what each label's toll leaves of each of them is written instead.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { stepper, systems } = JSON.parse(readFileSync(0, "utf8"));
const Stepper = createRequire(import.meta.url)(stepper);

function walked(rules, codes) {
  let joint = Stepper.initial(rules);
  const states = [];
  for (const code of [...codes, null]) {
    const edges = Stepper.edges(rules, joint);
    states.push([joint, edges.map(({ label }) => label.code)]);
    if (code === null) break;
    const edge = edges.find(({ label }) => label.code === code);
    if (edge === undefined) break;
    joint = edge.joint;
  }
  return states;
}

function charged(rules, environments) {
  return environments.map((one) => rules.labels.map(({ toll }) => Stepper.charge(one, toll)));
}

const answer = systems.map(({ rules, walks, environments }) =>
  environments ? charged(rules, environments) : walks.map((codes) => walked(rules, codes)));
process.stdout.write(JSON.stringify(answer));

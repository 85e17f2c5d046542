// Shows a story step by step, and lets its reader leave it for what else can happen.
//
// Rules kept here: `frames` is the path walked so far and, in a story, on to its end; every frame is
// {joint, edge}. All that is shown is worked out from the frame at `place` and the one before it.
"use strict";

(() => {
  const { rules, stories } = JSON.parse(document.getElementById("data").textContent);
  const { escaped } = Layout;
  const byCode = new Map(rules.labels.map((label) => [label.code, label]));
  const moves = Layout.movesOf(rules);
  const SIDES = ["source", "target"];
  const INBOX = { source: "to_source", target: "to_target" };
  const find = (id) => document.getElementById(id);
  const process = rules.fields.findIndex((field) => field.kind === "process");

  let story = stories[0] ?? null;
  let told = framesOf(story);
  let frames = told;
  let place = 0;

  function framesOf(of) {
    const found = [{ joint: Stepper.initial(rules), edge: null, note: "" }];
    for (const [step, code] of (of?.codes ?? []).entries()) {
      const edge = Stepper.follow(rules, byCode.get(code), found.at(-1).joint);
      if (edge === null) throw new Error(`step ${found.length} cannot happen: ${byCode.get(code).name}`);
      found.push({ joint: edge.joint, edge, note: of.notes[step] ?? "" });
    }
    return found;
  }

  // -- going about

  function go(to) {
    place = Math.max(0, Math.min(to, frames.length - 1));
    show();
  }

  function take(edge) {
    const next = frames[place + 1];
    if (next?.edge.label.code !== edge.label.code) {
      frames = [...frames.slice(0, place + 1), { joint: edge.joint, edge, note: "" }];
    }
    go(place + 1);
  }

  function back() {
    let same = 0;
    while (same < place && frames[same + 1] === told[same + 1]) same += 1;
    frames = told;
    go(same);
  }

  function tell(number) {
    story = stories[number];
    frames = told = framesOf(story);
    go(0);
  }

  // -- words

  const nameOf = (field) => field.name + (field.index === "" ? "" : ` ${field.index}`);
  const isAlive = (joint, side) => joint[side][process] === 0;
  const isAbsent = (side) => rules.absent.includes(side);

  function whose(label) {
    return label.side ?? "channel";
  }

  function changed(kind, side) {
    const now = frames[place].joint[side], before = frames[place - 1]?.joint[side] ?? now;
    return rules.fields
      .map((field, number) => ({ field, number, from: before[number], to: now[number] }))
      .filter(({ field, from, to }) => from !== to && field.kind === kind);
  }

  function arrow({ field, from, to }) {
    return `<b>${escaped(nameOf(field))}</b> ${escaped(field.values[from])} → ` +
      `<b>${escaped(field.values[to])}</b>`;
  }

  // -- the parts of the page

  function showHeader() {
    find("sentence").textContent = story?.sentence ?? "There is no trace: explore freely.";
    find("verdict").textContent = story?.verdict ?? "";
    find("verdict").className = story?.good ? "good" : "bad";
    const free = frames !== told;
    find("place").textContent =
      (free ? "exploring freely · " : "") + `step ${place} of ${frames.length - 1}`;
    find("return").hidden = !free;
    find("return").textContent = story ? "return to the trace" : "start again";
    find("stories").parentElement.hidden = !story || (stories.length === 1 && !story.claim);
    document.body.classList.toggle("free", free);
    for (const id of ["first", "back"]) find(id).disabled = place === 0;
    for (const id of ["last", "next"]) find(id).disabled = place === frames.length - 1;
  }

  function showSteps() {
    const items = frames.map(({ edge }, number) => {
      const label = edge?.label;
      const own = frames[number] !== told[number] ? "own" : "";
      const words = label ? escaped(label.words) : "both VMs have been built";
      const tag = label ? `<span class="tag ${whose(label)}">${whose(label)}</span>` : "";
      const actor = label ? `<span class="actor">${escaped(label.actor)}</span> ` : "";
      const here = number === place ? "here" : number > place ? "later" : "";
      return `<li class="${here} ${own}" data-step="${number}"><span class="number">${number}</span>` +
        `${tag}<span class="words">${actor}${words}</span></li>`;
    });
    find("steps").innerHTML = items.join("");
    find("steps").querySelector(".here").scrollIntoView({ block: "nearest" });
  }

  function showEvents() {
    const edges = Stepper.edges(rules, frames[place].joint);
    const { left, stage } = frames[place].joint.environment;
    const budgets = rules.system.budgets.map((budget, number) => `${budget} ${left[number]}`).join(", ");
    const next = frames[place + 1]?.edge.label.code;
    const groups = ["source", "target", "channel"].map((side) => {
      const buttons = edges.filter(({ label }) => whose(label) === side).map(({ label, joint }) => {
        const still = JSON.stringify(joint) === JSON.stringify(frames[place].joint);
        const cost = label.cost ? `<i>${escaped(label.cost)}</i>` : still ? "(changes nothing)" : "";
        const kind = label.code === next ? "next" : "";
        if (still && !budgets && !kind) return "";
        return `<button class="event ${kind}" data-code="${label.code}" title="${escaped(label.name)}">` +
          `<span class="actor">${escaped(label.actor)}</span> ${escaped(label.words)} ${cost}</button>`;
      });
      if (!buttons.join("")) return "";
      return `<h4><span class="tag ${side}">${side}</span></h4>${buttons.join("")}`;
    });
    find("events").innerHTML = (groups.join("") || "<p>Nothing: this is the end.</p>") +
      `<p class="budget">${budgets && `left to spend: ${escaped(budgets)}<br>`}` +
      `${escaped(rules.system.stages[stage])}</p>`;
    for (const button of find("events").querySelectorAll("button")) {
      const edge = edges.find(({ label }) => label.code === Number(button.dataset.code));
      button.onclick = () => take(edge);
    }
  }

  function showHappened() {
    const { edge, note } = frames[place];
    if (edge === null) {
      find("happened").innerHTML = `<h2>Step 0: both VMs have been built, nothing has happened yet</h2>`;
      return;
    }
    const { label } = edge;
    const about = { answer: "the world answers", message: "a message arrives", fault: "a fault",
      time: "a timer", operator: "the operator", guest: "the guest", host: "the host" };
    find("happened").innerHTML =
      `<h2>Step ${place}: <span class="tag ${whose(label)}">${whose(label)}</span> ` +
      `${escaped(label.words)}</h2><p>${escaped(about[label.actor] ?? label.actor)} · ` +
      `<code>${escaped(label.name)}</code>${note && ` · ${escaped(note)}`}</p>`;
  }

  /** A guard's words, with the meaning of each named condition behind its name. */
  function explained(words) {
    return words.replace(/\b[A-Z][A-Z_]+\b/g, (name) =>
      rules.names[name] ? `${name} (“${rules.names[name]}”)` : name);
  }

  function ruleText(taken) {
    const field = rules.fields[taken.field], entry = rules.entries[taken.entry];
    const moves = taken.to !== null && taken.to !== taken.from;
    const head = moves ? arrow({ field, from: taken.from, to: taken.to })
      : `<b>${escaped(nameOf(field))}</b> stays ${escaped(field.values[taken.from])}`;
    const parts = [`on ${taken.event.replace(/\d+$/, (rank) => rules.devices[rank] ?? rank)}`];
    if (entry.when) parts.push(`because ${explained(entry.when)}`);
    if (entry.then) parts.push(`then: ${entry.then}`);
    if (entry.cite) parts.push(`[${entry.cite}]`);
    return `<li class="${moves ? "moves" : "stays"}">${head}` +
      `<small>${escaped(parts.join(" · "))}</small></li>`;
  }

  function showMoved(side) {
    const { edge, joint } = frames[place];
    const lines = [];
    const died = changed("process", side);
    const run = edge?.label.side === side ? edge.run : null;
    if (died.length) {
      lines.push(`<li class="died">its process: ${died.map(arrow).join("")}</li>`);
    }
    if (run?.unhandled) {
      const { field, event } = run.unhandled;
      lines.push(`<li class="died">${escaped(nameOf(rules.fields[field]))} has no row for ${escaped(event)}</li>`);
    }
    // What stays as it is and has nothing done is not worth a reader's time.
    const rows = (run?.taken ?? []).filter(({ from, to, entry }) =>
      (to !== null && to !== from) || rules.entries[entry].then);
    lines.push(...rows.map(ruleText));
    if (run && !rows.length) {
      const reasons = run.taken.map(({ entry }) => rules.entries[entry].ignored).filter(Boolean);
      if (reasons.length) lines.push(`<li class="aside">ignored: ${escaped(reasons.join("; "))}</li>`);
    }
    if (!died.length) {
      const owed = changed("owed", side);
      const asks = owed.filter(({ to }) => to === 1).map(({ field }) => nameOf(field));
      const rest = owed.filter(({ to }) => to === 0).map(({ field }) => nameOf(field));
      const noted = changed("remembered", side);
      if (asks.length) lines.push(`<li class="aside">now waits for: ${escaped(asks.join(", "))}</li>`);
      if (rest.length) lines.push(`<li class="aside">waits no more for: ${escaped(rest.join(", "))}</li>`);
      if (noted.length) lines.push(`<li class="aside">the checker notes: ${noted.map(arrow).join(", ")}</li>`);
    }
    const life = rules.fields[process].values[joint[side][process]];
    const quiet = isAbsent(side) ? "no journal of it" : isAlive(joint, side) ? "nothing moves here"
      : `no process any more: it ${life}`;
    find(`moved-${side}`).innerHTML =
      lines.length ? `<ul>${lines.join("")}</ul>` : `<p class="quiet">${quiet}</p>`;
  }

  function latched([message, values]) {
    const fields = rules.carried[message] ?? [];
    const carried = values.map((value, i) =>
      `${nameOf(rules.fields[fields[i]])} ${rules.fields[fields[i]].values[value]}`);
    return [rules.system.messages[message], ...carried].join("\n");
  }

  function showChannel() {
    const { channel } = frames[place].joint, before = frames[place - 1]?.joint.channel ?? channel;
    const ends = ["no end", "waits to be accepted", "open", "closed", "gone"];
    const box = (inbox) => {
      const old = before[inbox].map(String);
      const letters = channel[inbox].map((content) => {
        const kind = old.includes(String(content)) ? "" : "new";
        return `<span class="letter ${kind}" title="${escaped(latched(content))}">${escaped(content[0])}</span>`;
      });
      return letters.join("") || `<span class="quiet">nothing</span>`;
    };
    const isRead = frames[place].edge?.label.receives;
    const missing = ["to_target", "to_source"].flatMap((inbox) =>
      before[inbox].slice(0, before[inbox].length - channel[inbox].filter((content) =>
        before[inbox].map(String).includes(String(content))).length).map(([message]) => message));
    const taken = missing.length && !isRead ? `<p class="lost">lost: ${escaped(missing.join(", "))}</p>`
      : missing.length ? `<p>read: <b class="new">${escaped(missing.join(", "))}</b></p>` : "";
    const marks = ["cut", "stalled"].filter((mark) => channel[mark]).map((mark) =>
      `<span class="mark">${mark}</span>`);
    if (channel.one_way) marks.push(`<span class="mark">one way: nobody can answer</span>`);
    const none = channel.source === 0 && channel.target === 0;
    const differs = (side) => (channel[side] !== before[side] ? "new" : "");
    find("channel").innerHTML = taken + (none ? `<p class="quiet">there is none</p>` : `
      <p>source's end: <b class="${differs("source")}">${ends[channel.source]}</b><br>
      target's end: <b class="${differs("target")}">${ends[channel.target]}</b> ${marks.join(" ")}</p>
      <p class="way">source <b>→</b> target: ${box("to_target")}</p>
      <p class="way">source <b>←</b> target: ${box("to_source")}</p>`);
  }

  // -- the property

  const isSo = (claim, joint) =>
    claim.neither ? !isSo(claim.neither, joint)
      : claim.every ? claim.every.every((part) => isSo(part, joint))
        : Stepper.holds(claim.guard, joint[claim.side], {});

  function parts(claim) {
    return claim.every ? claim.every.flatMap(parts) : [claim];
  }

  function worded(claim, not = "") {
    if (claim.neither) return worded(claim.neither, not ? "" : "not: ");
    if (claim.every) return not + claim.every.map((part) => worded(part)).join(" and ");
    return `<span class="tag ${claim.side}">${claim.side}</span> ${not}${escaped(claim.words)}`;
  }

  function claimBlock(claim, joint) {
    const forbids = claim.neither?.every !== undefined;
    const inner = forbids ? parts(claim.neither) : parts(claim);
    const items = inner.map((part) => {
      const so = isSo(part, joint);
      return `<li class="${so ? "so" : "not"}">${so ? "✓" : "✗"} ${worded(part)}</li>`;
    });
    const [so, otherwise] = {
      always: forbids ? ["must never be true together", "here it is broken"] : ["must be true", "here it is broken"],
      sometimes: ["has to be true together somewhere", "not here"],
      resolves: [forbids ? "every course has to come to where these are not true together"
        : "every course has to come to where this is true", "not so here"],
    }[story.kind];
    const holds = isSo(claim, joint);
    const state = story.kind === "sometimes" ? (holds ? "seen" : "") : holds ? "" : "broken";
    const told = holds ? (state === "seen" ? ": here it is" : "") : `: ${otherwise}`;
    return `<div class="${state}"><h4>${so}${told}</h4><ul>${items.join("")}</ul></div>`;
  }

  function showClaim() {
    const claim = story?.claim;
    find("claim").hidden = !claim;
    if (!claim) return;
    const joint = frames[place].joint;
    const blocks = claim.every && claim.every.some((part) => part.neither) ? claim.every : [claim];
    find("claim").innerHTML = `<h3>What the property <code>${escaped(story.title)}</code> looks at, ` +
      `after this step <span class="cite">${escaped(story.cite)}</span></h3>` +
      blocks.map((block) => claimBlock(block, joint)).join("");
  }

  // -- the diagrams

  function movesNow(side, number) {
    const { edge } = frames[place];
    if (edge?.label.side !== side || !edge.run || !isAlive(edge.joint, side)) return [];
    return edge.run.taken.filter(({ field, from, to }) => field === number && to !== null && to !== from)
      .map(({ from, to }) => [from, to]);
  }

  function order() {
    const machines = rules.fields.map((field, number) => number)
      .filter((number) => rules.fields[number].kind === "machine");
    const moving = (number) => frames.some(({ joint }, at) => at > 0 && SIDES.some((side) =>
      isAlive(joint, side) && joint[side][number] !== frames[at - 1].joint[side][number]));
    return [machines.filter(moving), machines.filter((number) => !moving(number))];
  }

  function drawn(number, side) {
    const { joint } = frames[place], field = rules.fields[number];
    const moved = movesNow(side, number), dead = isAlive(joint, side) ? "" : "dead";
    const value = dead ? null : joint[side][number];
    return `<figure class="${side} ${moved.length ? "moved" : ""} ${dead}" ` +
      `data-machine="${escaped(nameOf(field))}" data-number="${number}" data-side="${side}">` +
      `<figcaption title="${escaped(field.summary)}"><b>${escaped(nameOf(field))}</b> ` +
      `${isAbsent(side) ? "no journal" : dead ? "no process" : escaped(field.values[value])}</figcaption>` +
      `${Layout.draw(field, moves[number], value, moved, side)}</figure>`;
  }

  /** Every machine's state in a few words; the whole VM at a glance. */
  function chips(numbers, side) {
    const { joint } = frames[place];
    const life = rules.fields[process].values[joint[side][process]];
    if (isAbsent(side)) return `<div class="chips ${side}"><b>no journal of it: it is seen by its messages</b></div>`;
    if (!isAlive(joint, side)) return `<div class="chips ${side}"><b>no process: it ${life}</b></div>`;
    const words = numbers.map((number) => {
      const field = rules.fields[number], kind = movesNow(side, number).length ? "moved" : "";
      return `<span class="chip ${kind}" data-number="${number}" title="${escaped(field.summary)}">` +
        `${escaped(nameOf(field))} <b>${escaped(field.values[joint[side][number]])}</b></span>`;
    });
    return `<div class="chips ${side}">${words.join(" ")}</div>`;
  }

  function showDiagrams() {
    const [moving, still] = order();
    const rows = (numbers) => numbers.map((n) => SIDES.map((side) => drawn(n, side)).join("")).join("");
    const head = (text) => `<h3 class="across">${text}</h3>`;
    find("diagrams").innerHTML = Layout.tips() +
      `<h3 class="vm source">source</h3><h3 class="vm target">target</h3>` +
      SIDES.map((side) => chips([...moving, ...still], side)).join("") + rows(moving) +
      (still.length ? head("machines that do not move on this path") + rows(still) : "");
  }

  function show() {
    showHeader();
    showSteps();
    showHappened();
    SIDES.forEach(showMoved);
    showChannel();
    showClaim();
    showDiagrams();
    showEvents();
  }

  // -- keys and clicks

  const keys = { ArrowLeft: () => go(place - 1), ArrowRight: () => go(place + 1),
    Home: () => go(0), End: () => go(frames.length - 1) };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.tagName === "SELECT") return;
    if (!(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  });
  find("first").onclick = keys.Home;
  find("back").onclick = keys.ArrowLeft;
  find("next").onclick = keys.ArrowRight;
  find("last").onclick = keys.End;
  find("return").onclick = back;
  find("steps").onclick = (event) => {
    const item = event.target.closest("li");
    if (item) go(Number(item.dataset.step));
  };
  find("diagrams").onclick = (event) => {
    const chip = event.target.closest(".chip");
    const figure = chip && find("diagrams").querySelector(`figure[data-number="${chip.dataset.number}"]`);
    figure?.scrollIntoView({ block: "center" });
  };
  find("stories").innerHTML = stories.map(({ title, verdict }, number) =>
    `<option value="${number}">${escaped(title)}${verdict ? ` – ${escaped(verdict)}` : ""}</option>`).join("");
  find("stories").onchange = (event) => {
    tell(Number(event.target.value));
    event.target.blur();
  };
  show();
})();

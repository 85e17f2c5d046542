// Executes the ground rules of two VMs: what can happen in a joint state, and what comes of it.
//
// Rules kept here: it says exactly what statemachines/checker says (steps.py for one VM, wire.py for
// the channel, actions.py for the environment, explore.py for what the other VM and the prompt
// target let happen); tests/tools/test_page_stepper.py compares the two step by step. It is pure:
// no document, no clock. A joint state is {source, target, channel, environment}.
"use strict";

const Stepper = (() => {
  const NONE = 0, OFFERED = 1, OPEN = 2, CLOSED = 3, GONE = 4;
  const OTHER = { source: "target", target: "source" };
  const INBOX = { source: "to_source", target: "to_target" };

  // -- guards: true, false, [kind, ...]

  function holds(guard, state, heard) {
    if (typeof guard === "boolean") return guard;
    switch (guard[0]) {
      case "test":
        return guard[2].includes(state[guard[1]]);
      case "heard":
        return guard[2].includes(heard[guard[1]] ?? -1);
      case "not":
        return !holds(guard[1], state, heard);
      case "all":
        return guard[1].every((part) => holds(part, state, heard));
      case "any":
        return guard[1].some((part) => holds(part, state, heard));
    }
    throw new Error(`no guard is called ${guard[0]}`);
  }

  // -- one VM

  function glance(rules, trigger, before, after, heard) {
    for (const watch of rules.glances[trigger] ?? []) {
      const value = before[watch.field];
      const fits = after[watch.field] === value && watch.values.includes(value);
      if (fits && holds(watch.guard, before, heard)) after[watch.field] = watch.next;
    }
  }

  /** One event at one state; returns the field that cannot take it, or null. */
  function happen(rules, name, run) {
    const before = run.state, after = before.slice();
    for (const listener of rules.events[name].listeners) {
      const choices = listener.cells[before[listener.field]] ?? [];
      const choice = choices.find(({ guard }) => holds(guard, before, run.heard));
      if (choice === undefined || choice.refused) return listener.field;
      const from = before[listener.field];
      run.taken.push({ event: name, field: listener.field, from, to: choice.next, entry: choice.entry });
      if (choice.next !== null) after[listener.field] = choice.next;
      for (const effect of choice.effects) affect(rules, effect, before, after, run);
    }
    glance(rules, `event ${name}`, before, after, run.heard);
    run.state = after;
    return null;
  }

  function affect(rules, effect, before, after, run) {
    if (effect.raise !== undefined) {
      run.inbox.push(effect.raise);
    } else if (effect.send !== undefined) {
      run.said.push([effect.send, effect.fields.map((field) => before[field])]);
      glance(rules, `send ${effect.send}`, before, after, run.heard);
    } else {
      if (effect.owed !== null) after[effect.owed] = 1;
      if (effect.ask === "CLOSE_CHANNEL" || effect.ask === "EXIT") run.said.push(effect.ask);
      glance(rules, `ask ${effect.ask} ${effect.index}`, before, after, run.heard);
    }
  }

  /** An event and everything it raises; null where its owner does not allow it. */
  function settle(rules, name, state, heard) {
    const run = { state, heard, inbox: [name], said: [], taken: [], unhandled: null };
    for (let place = 0; place < run.inbox.length; place++) {
      const wrong = happen(rules, run.inbox[place], run);
      if (wrong === null) continue;
      const owner = rules.events[run.inbox[place]].listeners[0].field;
      if (wrong === owner && run.inbox.length === 1) return null;
      run.unhandled = { field: wrong, event: run.inbox[place] };
      return run;
    }
    const rest = run.state.slice();
    for (const [owed, field, values] of rules.forgotten) {
      if (!values.includes(rest[field])) rest[owed] = 0;
    }
    run.state = rest;
    return run;
  }

  // -- the channel

  const noChannel = () => ({
    source: NONE, target: NONE, one_way: false, cut: false, stalled: false, to_target: [], to_source: [],
  });

  function isNone(channel) {
    return JSON.stringify(channel) === JSON.stringify(noChannel());
  }

  function meets(channel, side, need) {
    const mine = channel[side], other = channel[OTHER[side]];
    const gone = channel.cut || other === CLOSED || other === GONE;
    switch (need) {
      case "ANY": return true;
      case "NONE": return isNone(channel);
      case "WAITING": return mine === OFFERED && !channel.one_way;
      case "WAITING_ONE_WAY": return mine === OFFERED && channel.one_way;
      case "ENDED": return gone && !channel.stalled && channel[INBOX[side]].length === 0;
      case "PEER_GONE": return gone;
      case "PEER_THERE": return !gone;
      case "STALLED": return channel.stalled;
    }
    throw new Error(`no need is called ${need}`);
  }

  function send(rules, channel, side, content) {
    if (channel.cut || channel[side] !== OPEN || channel[OTHER[side]] === GONE) return channel;
    const inbox = [...channel[INBOX[OTHER[side]]], content];
    if (inbox.length > rules.in_flight_max) throw new Error(`${side}: nobody reads what it sends`);
    return { ...channel, [INBOX[OTHER[side]]]: inbox };
  }

  function disturb(channel, what) {
    if (what === "UNSTALL") return channel.stalled ? { ...channel, stalled: false } : null;
    const whole = channel.source === OPEN && [OPEN, OFFERED].includes(channel.target);
    if (channel.cut || channel.stalled || !whole) return null;
    if (what === "STALL") return channel.one_way ? null : { ...channel, stalled: true };
    const lost = { CUT: [], CUT_TO_TARGET: ["to_target"], CUT_TO_SOURCE: ["to_source"] };
    const inboxes = lost[what] ?? ["to_target", "to_source"];
    if (inboxes.some((inbox) => channel[inbox].length === 0)) return null;
    const after = { ...channel, cut: true };
    for (const inbox of inboxes) after[inbox] = [];
    return after;
  }

  function operate(rules, channel, [name, side, what]) {
    switch (name) {
      case "need": return meets(channel, side, what) ? channel : null;
      case "make": return { ...noChannel(), [side]: OPEN, [OTHER[side]]: OFFERED, one_way: what };
      case "accept": return { ...channel, [side]: OPEN };
      case "pop": {
        const inbox = channel[INBOX[side]];
        return channel.stalled || !inbox.length ? null : { ...channel, [INBOX[side]]: inbox.slice(1) };
      }
      case "send": return send(rules, channel, side, what);
      case "close": return channel[side] === OPEN ? { ...channel, [side]: CLOSED } : channel;
      case "let go":
        if ([NONE, OFFERED].includes(channel[side])) return channel;
        return { ...channel, [INBOX[side]]: [], [side]: GONE };
      case "perish":
        return channel[side] === NONE ? channel : { ...channel, [INBOX[side]]: [], [side]: GONE };
      case "deafen": return { ...channel, [INBOX[side]]: [] };
      case "disturb": return disturb(channel, what);
    }
    throw new Error(`no operation is called ${name}`);
  }

  /** The channel after some operations, or null where one of them is impossible. */
  function apply(rules, channel, ops) {
    for (const op of ops) {
      channel = operate(rules, channel, op);
      if (channel === null) return null;
    }
    const left = (end) => end === GONE || end === NONE;
    if (left(channel.source) && left(channel.target)) return noChannel();
    if (channel.cut && (channel.source === GONE || channel.target === GONE)) {
      return { ...channel, cut: false };
    }
    return channel;
  }

  // -- the environment

  function charge(environment, toll) {
    if (environment.stage !== toll.stage) return null;
    if (toll.spares !== null && !environment.left[toll.spares]) return null;
    const after = { ...environment, left: environment.left.slice() };
    if (toll.promise !== "NONE") {
      if (!["NONE", toll.promise].includes(environment.promise)) return null;
      after.promise = toll.promise;
    }
    if (toll.forgets) after.promise = "NONE";
    if (toll.then !== null) after.stage = toll.then;
    if (toll.cost === null) return after;
    if (!after.left[toll.cost]) return null;
    after.left[toll.cost] -= 1;
    return after;
  }

  /** What is left to spend after a step of the source: some of it is let go where it is moot. */
  function afterSource(rules, state, environment) {
    const left = environment.left.slice();
    for (const { guard, budgets, spent } of rules.forfeits) {
      if ((spent === null || left[spent] === 0) && holds(guard, state, {})) {
        for (const budget of budgets) left[budget] = 0;
      }
    }
    return { ...environment, left };
  }

  /** Whether the target has something to do at once, so that the source waits. */
  function targetIsPrompt(rules, joint) {
    if (holds(rules.checks_hello, joint.target, {})) return true;
    const { channel } = joint;
    const isHello = !channel.stalled && channel.to_target[0]?.[0] === "HELLO";
    return holds(rules.reads, joint.target, {}) && (channel.target === OFFERED || isHello);
  }

  // -- edges

  /** What a label does to its own VM: {state, ops, run}, or null. */
  function act(rules, label, joint) {
    const { side } = label;
    const before = joint[side];
    if (label.disturbs) {
      const ops = label.dies ? [["perish", side, null]] : [];
      return { state: label.dies ?? rules.initial, ops, run: null };
    }
    const heard = {};
    if (label.receives !== null) {
      const head = joint.channel[INBOX[side]][0];
      if (joint.channel.stalled || head === undefined || head[0] !== label.receives) return null;
      if (head[1].length) rules.carried[head[0]].forEach((field, i) => { heard[field] = head[1][i]; });
    }
    const cleared = before.slice();
    for (const field of label.clears) cleared[field] = 0;
    const run = settle(rules, label.event, cleared, heard);
    if (run === null) return null;
    if (run.unhandled !== null) {
      return { state: rules.dead.BROKEN, ops: [...label.ops, ["perish", side, null]], run };
    }
    const ops = label.ops.slice();
    for (const said of run.said) {
      if (said === "CLOSE_CHANNEL") ops.push(["close", side, null]);
      else if (said !== "EXIT") ops.push(["send", side, said]);
    }
    // Who wrote a journal goes on after it was told to exit, until it says that it has.
    if (run.said.includes("EXIT") && !rules.lingers) {
      return { state: rules.dead.EXITED, ops: [...ops, ["perish", side, null]], run };
    }
    if (rules.deaf.values.includes(run.state[rules.deaf.field])) ops.push(["deafen", side, null]);
    return { state: run.state, ops, run };
  }

  /** The edge of a label out of a joint state: {label, joint, run}, or null. */
  function follow(rules, label, joint) {
    let environment = charge(joint.environment, label.toll);
    if (environment === null) return null;
    if (label.side === null) {
      const channel = apply(rules, joint.channel, label.ops);
      return channel && { label, joint: { ...joint, channel, environment }, run: null };
    }
    if (label.waits && targetIsPrompt(rules, joint)) return null;
    if (!holds(label.peer, joint[OTHER[label.side]], {})) return null;
    if (!holds(label.guard, joint[label.side], {})) return null;
    const done = act(rules, label, joint);
    const channel = done && apply(rules, joint.channel, done.ops);
    if (!channel) return null;
    if (label.side === "source") environment = afterSource(rules, done.state, environment);
    return { label, joint: { ...joint, [label.side]: done.state, channel, environment }, run: done.run };
  }

  /** Every edge out of a joint state, in the order of the labels. */
  function edges(rules, joint) {
    return rules.labels.map((label) => follow(rules, label, joint)).filter((edge) => edge !== null);
  }

  function initial(rules) {
    const first = (side) => (rules.absent.includes(side) ? rules.dead.EXITED : rules.initial);
    return {
      source: first("source"), target: first("target"), channel: noChannel(), environment: rules.start,
    };
  }

  return { charge, edges, follow, holds, initial };
})();

if (typeof module !== "undefined") module.exports = Stepper;

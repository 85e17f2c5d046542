// Draws one machine as SVG: its states in rows, in the order of their declaration, and its moves.
//
// Rules kept here: a drawing is a function of the machine, the state it is in and the moves of this
// step. Moves share a line for each pair of states; their events are told when one points at it.
"use strict";

const Layout = (() => {
  const PER_ROW = 4, WIDTH = 110, HEIGHT = 22, GAP_X = 20, GAP_Y = 26, MARGIN = 13;

  const escaped = (text) =>
    String(text).replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);

  /** Per field: "from to" -> the events that lead from the one state to the other. */
  function movesOf(rules) {
    const moves = rules.fields.map(() => new Map());
    for (const [name, event] of Object.entries(rules.events)) {
      for (const { field, cells } of event.listeners) {
        for (const [from, choices] of Object.entries(cells)) {
          for (const { next, refused } of choices) {
            if (refused || next === null || next === Number(from)) continue;
            const key = `${from} ${next}`;
            if (!moves[field].has(key)) moves[field].set(key, new Set());
            moves[field].get(key).add(name);
          }
        }
      }
    }
    return moves;
  }

  const corner = (place) => ({
    x: MARGIN + (place % PER_ROW) * (WIDTH + GAP_X),
    y: MARGIN + Math.floor(place / PER_ROW) * (HEIGHT + GAP_Y),
    row: Math.floor(place / PER_ROW),
    column: place % PER_ROW,
  });

  /** The path of a line between two states: straight to a neighbour, else through the gaps. */
  function line(from, to) {
    const a = corner(from), b = corner(to);
    const side = WIDTH / 2, forward = b.column > a.column || (b.column === a.column && b.row > a.row);
    if (a.row === b.row) {
      const near = Math.abs(a.column - b.column) === 1;
      if (near && forward) {
        const y = a.y + HEIGHT / 2 - 4;
        return `M${a.x + WIDTH} ${y}H${b.x - 3}`;
      }
      if (near) {
        const y = a.y + HEIGHT / 2 + 5;
        return `M${a.x} ${y}H${b.x + WIDTH + 3}`;
      }
      const edge = forward ? a.y : a.y + HEIGHT;
      const bend = forward ? edge - 14 : edge + 14;
      const x1 = a.x + side + (forward ? 16 : -16), x2 = b.x + side + (forward ? -16 : 16);
      return `M${x1} ${edge}C${x1} ${bend} ${x2} ${bend} ${x2} ${edge + (forward ? -3 : 3)}`;
    }
    const down = b.row > a.row;
    const shift = down ? -12 : 12;
    const x1 = a.x + side + shift, x2 = b.x + side + shift;
    const y1 = down ? a.y + HEIGHT : a.y, y2 = down ? b.y - 3 : b.y + HEIGHT + 3;
    if (Math.abs(b.row - a.row) > 1 && a.column === b.column) {
      const gap = down ? a.x - 32 : a.x + WIDTH + 32, edge = down ? a.x + 20 : a.x + WIDTH - 20;
      return `M${edge} ${y1}C${gap} ${y1 + (y2 - y1) / 4} ${gap} ${y2 - (y2 - y1) / 4} ${edge} ${y2}`;
    }
    const middle = (y1 + y2) / 2;
    return `M${x1} ${y1}C${x1} ${middle} ${x2} ${middle} ${x2} ${y2}`;
  }

  /** `value`: the state it is in, null for none; `moved`: pairs [from, to] of this step. */
  function draw(field, moves, value, moved, side) {
    const rows = Math.ceil(field.values.length / PER_ROW);
    const width = 2 * MARGIN + PER_ROW * WIDTH + (PER_ROW - 1) * GAP_X;
    const height = 2 * MARGIN + rows * HEIGHT + (rows - 1) * GAP_Y;
    const isMoved = (key) => moved.some(([from, to]) => `${from} ${to}` === key);
    const lines = [...moves].sort(([a], [b]) => isMoved(a) - isMoved(b)).map(([key, events]) => {
      const [from, to] = key.split(" ").map(Number);
      const kind = isMoved(key) ? "now" : from === value ? "possible" : "";
      const told = `${field.values[from]} → ${field.values[to]}\n${[...events].join("\n")}`;
      const path = line(from, to);
      return `<g class="move ${kind}"><title>${escaped(told)}</title><path class="reach" d="${path}"/>` +
        `<path d="${path}" marker-end="url(#tip-${kind || "plain"})"/></g>`;
    });
    const boxes = field.values.map((name, place) => {
      const { x, y } = corner(place);
      const left = moved.some(([from]) => from === place) && place !== value;
      const kind = place === value ? "lit" : left ? "left" : "";
      return `<g class="state ${kind}" data-state="${escaped(name)}">` +
        `<title>${escaped(`${name}: ${field.meanings[place]}`)}</title>` +
        `<rect x="${x}" y="${y}" width="${WIDTH}" height="${HEIGHT}" rx="5"/>` +
        `<text x="${x + WIDTH / 2}" y="${y + 15}">${escaped(name)}</text></g>`;
    });
    return `<svg viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" ` +
      `aria-label="${escaped(`${field.name} of the ${side}: ${field.values[value] ?? "no process"}`)}">` +
      `${lines.join("")}${boxes.join("")}</svg>`;
  }

  /** The arrow heads that every drawing uses. */
  const tips = () =>
    `<svg width="0" height="0" style="position:absolute"><defs>` +
    [["plain", "#b9c2cd"], ["possible", "#5d6b7c"], ["now", "#c2410c"]].map(([name, colour]) =>
      `<marker id="tip-${name}" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="8" markerHeight="8" ` +
      `markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L8 4L0 8z" fill="${colour}"/></marker>`,
    ).join("") + `</defs></svg>`;

  return { draw, escaped, movesOf, tips };
})();

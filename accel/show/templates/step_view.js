// What one moment of a run looks like. A scene is { dataflow, rows, cols, x, w, run },
// x and w being the tile in the array; a moment is the number of edges gone by.

// Slots drawn at each edge, by size of the array: the rest waits out of sight.
const SLOTS = {
  left: { large: 12, medium: 10, small: 10 },
  top: { large: 12, medium: 8, small: 8 },
};
const HELD = { ws: "weight", is: "input", os: "sum" };

function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

const byId = (id) => document.getElementById(id);
const shape = (scene) => ({ M: scene.x.length, K: scene.w.length, N: scene.w[0].length });

function registersAt(scene, moment) {
  const { run, rows, cols } = scene;
  const read = (name, empty) =>
    moment ? run.registers[name][moment - 1] : grid(rows, cols, () => empty);
  const zero = scene.symbolic ? "0" : 0;
  const [weight, input, sum] = ["weight", "input", "sum"].map((name) => read(name, zero));
  return { weight, input, sum, valid: read("valid", false) };
}

function usedPart(scene) {
  const { M, K, N } = shape(scene);
  return usage(scene.dataflow, M, K, N);
}

// What a PE does on the edge that led to this moment.
function activity(scene, moment, valid, r, c) {
  const [usedRows, usedCols] = usedPart(scene);
  const { phases, cycles } = scene.run;
  const phase = phases[moment - 1];
  if (valid[r][c]) return r < usedRows && c < usedCols ? "work" : "pad";
  // Rows that the load has not reached and rows that the drain has left hold zeros.
  if (phase === "load") return r < moment ? "move" : "idle";
  if (phase === "drain" && scene.dataflow === "os")
    return r >= moment - cycles + scene.rows ? "move" : "idle";
  return "idle";
}

// A sum of many names does not fit its PE: the number of terms does.
function fitted(value, room) {
  const text = String(value);
  if (text.length <= room) return text;
  if (!text.includes("+")) return text;
  const terms = text.split("+").length;
  return room < 9 ? `Σ ${terms}` : `${terms} terms`;
}

// Operands on their way in, by edge of arrival: [{ lane, edge, value, skew }].
function arrivals(scene) {
  const { dataflow, rows, cols, x, w } = scene;
  const zero = scene.symbolic ? "0" : 0;
  const stream = (lanes, items, start, value) =>
    line(lanes, (lane) =>
      line(items, (i) => ({ lane, edge: start + 1 + i + lane, value: value(i, lane) ?? zero })),
    ).flat();
  const load = (value) =>
    line(cols, (lane) =>
      line(rows, (i) => ({ lane, edge: i + 1, value: value(rows - 1 - i, lane) ?? zero })),
    ).flat();
  if (dataflow === "os")
    return {
      left: { operand: "input", start: 0, skewed: true,
        items: stream(rows, w.length, 0, (k, r) => x[r]?.[k]) },
      top: { operand: "weight", start: 0, skewed: true,
        items: stream(cols, w.length, 0, (k, c) => w[k][c]) },
    };
  const weights = dataflow === "ws";
  const streamed = weights ? (m, r) => x[m][r] : (n, r) => w[r]?.[n];
  return {
    left: { operand: weights ? "input" : "weight", start: rows, skewed: true,
      items: stream(rows, weights ? x.length : w[0].length, rows, streamed) },
    top: { operand: weights ? "weight" : "input", start: 0, skewed: false,
      items: load(weights ? (k, n) => w[k]?.[n] : (k, m) => x[m]?.[k]) },
  };
}

// Slot 0 of a lane touches the array: what lies there enters on the next edge.
function buildFeed(scene, side, feed) {
  const lanes = side === "left" ? scene.rows : scene.cols;
  const longest = Math.max(...feed.items.map((item) => item.edge)) - feed.start;
  const slots = Math.min(longest, SLOTS[side][scene.size]);
  const root = element("div", `feed ${side} ${feed.operand}`);
  root.setAttribute("aria-hidden", "true");
  const cells = grid(lanes, slots, (lane, slot) => {
    const cell = element("span", feed.skewed && slot < lane ? "slot skew" : "slot");
    const [row, col] = side === "left" ? [lane, slots - 1 - slot] : [slots - 1 - slot, lane];
    cell.style.gridArea = `${row + 1} / ${col + 1}`;
    root.append(cell);
    return cell;
  });
  const draw = (moment) => {
    for (const cell of cells.flat()) cell.textContent = "";
    let beyond = 0;
    for (const { lane, edge, value } of feed.items) {
      const slot = edge - 1 - Math.max(moment, feed.start);
      if (slot >= slots) beyond += 1;
      else if (slot >= 0) cells[lane][slot].textContent = value;
    }
    root.dataset.beyond = beyond ? `+${beyond} more` : "";
  };
  return { root, draw, slots };
}

function buildArray(scene, select) {
  const root = element("div", "array");
  root.setAttribute("role", "grid");
  root.setAttribute("aria-label", `${scene.rows} by ${scene.cols} processing elements`);
  const cells = line(scene.rows, (r) => {
    const row = root.appendChild(element("div", "array-row"));
    row.setAttribute("role", "row");
    return line(scene.cols, (c) => {
      const pe = row.appendChild(element("div", "pe"));
      pe.setAttribute("role", "gridcell");
      pe.tabIndex = -1;
      pe.addEventListener("click", () => select(r, c));
      const part = (name) => pe.appendChild(element("span", name));
      const mark = part("mark");
      mark.setAttribute("aria-hidden", "true");
      return { pe, mark, input: part("input"), weight: part("weight"), sum: part("sum") };
    });
  });
  const held = HELD[scene.dataflow];
  for (const cell of cells.flat()) cell[held].classList.add("held");
  const room = scene.size === "large" ? 14 : scene.size === "medium" ? 9 : 7;
  const draw = (moment, selected) => drawArray(scene, cells, moment, selected, room);
  return { root, cells, draw };
}

const MARKS = { work: "×", pad: "0", move: "↓", idle: "" };
const DOING = { work: "multiplies", pad: "multiplies padding", move: "passes on", idle: "idle" };

function drawArray(scene, cells, moment, selected, room) {
  const registers = registersAt(scene, moment);
  cells.forEach((row, r) =>
    row.forEach((cell, c) => {
      const doing = activity(scene, moment, registers.valid, r, c);
      const values = {};
      for (const name of ["input", "weight", "sum"]) {
        values[name] = registers[name][r][c];
        cell[name].textContent = fitted(values[name], name === "sum" ? room : 7);
      }
      cell.pe.dataset.state = doing;
      cell.mark.textContent = MARKS[doing];
      const chosen = selected[0] === r && selected[1] === c;
      cell.pe.tabIndex = chosen ? 0 : -1;
      cell.pe.setAttribute("aria-selected", chosen);
      cell.pe.setAttribute(
        "aria-label",
        `PE ${r}, ${c}: ${DOING[doing]}; input ${values.input}, weight ${values.weight}, ` +
          `sum ${values.sum}`,
      );
    }),
  );
}

function buildOutlet(scene) {
  const root = element("div", "outlet");
  const cells = line(scene.cols, () => root.appendChild(element("span", "out")));
  const { M, N } = shape(scene);
  const all = results(scene.run, { ...scene, M, N });
  const draw = (moment) => {
    for (const cell of cells) {
      cell.textContent = "";
      cell.classList.remove("fresh");
    }
    for (const { cycle, col, value } of all)
      if (cycle === moment - 1) {
        cells[col].textContent = fitted(value, scene.size === "large" ? 14 : 8);
        cells[col].classList.add("fresh");
      }
  };
  return { root, draw, all };
}

// The whole drawing: operands waiting at two edges, the array, what falls out below.
function buildStage(root, scene, select) {
  root.replaceChildren();
  const feeds = arrivals(scene);
  const left = buildFeed(scene, "left", feeds.left);
  const top = buildFeed(scene, "top", feeds.top);
  const array = buildArray(scene, select);
  const outlet = buildOutlet(scene);
  for (const [name, value] of Object.entries({
    "--rows": scene.rows,
    "--cols": scene.cols,
    "--left-slots": left.slots,
    "--top-slots": top.slots,
  }))
    root.style.setProperty(name, value);
  root.dataset.size = scene.size;
  root.dataset.dataflow = scene.dataflow;
  root.append(top.root, left.root, array.root, outlet.root);
  const draw = (moment, selected) => {
    for (const part of [left, top, outlet]) part.draw(moment);
    array.draw(moment, selected);
    root.dataset.phase = moment ? scene.run.phases[moment - 1] : "start";
  };
  return { draw, cells: array.cells, results: outlet.all };
}

// Useful multiplications and slots up to a moment.
function counts(scene, moment) {
  const [usedRows, usedCols] = usedPart(scene);
  let macs = 0;
  for (let t = 0; t < moment; t += 1)
    for (let r = 0; r < usedRows; r += 1)
      for (let c = 0; c < usedCols; c += 1) macs += Number(scene.run.registers.valid[t][r][c]);
  const slots = moment * scene.rows * scene.cols;
  const { M, K, N } = shape(scene);
  return { macs, total: M * K * N, idle: slots - macs, utilization: slots ? macs / slots : 0 };
}

// The matrices: shown, edited, resized; results as they arrive. And the wiring.

const RANGES = {
  x: { low: -128, high: 255, rule: "int8 (-128..127) or uint8 (0..255)" },
  w: { low: -128, high: 127, rule: "int8 (-128..127)" },
};
let resultCells = [];

function buildTables() {
  const { M, K, N } = shape(scene);
  const tables = [
    ["x", "X", chosen.x, [M, K], "input"],
    ["w", "W", chosen.w, [K, N], "weight"],
  ].map(([key, label, matrix, used, operand]) =>
    buildTable(label, operand, matrix, (value, r, c) => {
      const inside = r < used[0] && c < used[1];
      return operandCell(key, label, value, r, c, inside);
    }),
  );
  resultCells = [];
  const empty = grid(M, N, () => "");
  const result = buildTable("Y", "sum", empty, (_, m, n) => {
    const cell = element("span", "result");
    (resultCells[m] ??= [])[n] = cell;
    return cell;
  });
  byId("tables").replaceChildren(...tables, result);
}

function buildTable(label, operand, matrix, makeCell) {
  const figure = element("figure", operand);
  const size = `${matrix.length} × ${matrix[0].length}`;
  figure.append(element("figcaption", "", `${label}  ${size}`));
  const body = element("div", "matrix");
  body.style.setProperty("--columns", matrix[0].length);
  matrix.forEach((row, r) => row.forEach((value, c) => body.append(makeCell(value, r, c))));
  figure.append(body);
  return figure;
}

function operandCell(key, label, value, r, c, inside) {
  const cell = element("input", inside ? "" : "outside");
  cell.type = "text";
  cell.inputMode = "numeric";
  cell.autocomplete = "off";
  cell.readOnly = chosen.symbolic;
  const named = inside && chosen.symbolic;
  cell.value = named ? scene[key][r][c] : value;
  cell.setAttribute("aria-label", `${label} row ${r} column ${c}`);
  cell.addEventListener("change", () => enter(key, label, r, c, cell));
  return cell;
}

// A new value of a cell, or the reason why it cannot be one.
function checked(key, label, r, c, text) {
  const { low, high, rule } = RANGES[key];
  const value = Number(text);
  const place = `${label}[${r}][${c}]`;
  if (!/^\s*[+-]?\d+\s*$/.test(text) || value < low || value > high)
    return { problem: `${place} (=${text.slice(0, 12)}) must be a whole number, ${rule}.` };
  const all = chosen[key].flatMap((row, i) => row.filter((_, j) => i !== r || j !== c));
  const mixed = Math.max(value, ...all) > 127 && Math.min(value, ...all) < 0;
  if (mixed)
    return { problem: `${place} (=${value}): ${label} must be int8 or uint8 throughout; ` +
      `it may not hold values below 0 and above 127 at once.` };
  return { value };
}

function enter(key, label, r, c, cell) {
  const { value, problem } = checked(key, label, r, c, cell.value);
  byId("problem").textContent = problem ?? "";
  cell.setAttribute("aria-invalid", Boolean(problem));
  if (problem || value === chosen[key][r][c]) return;
  const matrix = chosen[key].map((row) => [...row]);
  matrix[r][c] = value;
  edit({ [key]: matrix }, { tables: false });
}

function drawResults() {
  for (const cell of resultCells.flat()) {
    cell.textContent = "";
    cell.className = "result";
  }
  for (const { cycle, m, n, value } of stage.results)
    if (cycle < chosen.moment) {
      resultCells[m][n].textContent = fitted(value, scene.size === "large" ? 30 : 9);
      resultCells[m][n].title = value;
      resultCells[m][n].classList.add(cycle === chosen.moment - 1 ? "fresh" : "done");
    }
}

// Small numbers for cells that a larger matrix adds.
const filler = (r, c) => ((3 * r + 5 * c) % 9) + 1;
const resized = (matrix, rows, cols) => grid(rows, cols, (r, c) => matrix[r]?.[c] ?? filler(r, c));

function resize({ rows = chosen.rows, cols = chosen.cols, M, K, N }) {
  const [m, k, n] = [M ?? chosen.x.length, K ?? chosen.w.length, N ?? chosen.w[0].length];
  byId("problem").textContent = "";
  edit({ rows, cols, x: resized(chosen.x, m, k), w: resized(chosen.w, k, n) });
}

function wireSizes() {
  for (const name of ["rows", "cols", "M", "K", "N"])
    byId(name).addEventListener("change", ({ target }) => {
      const size = Number(target.value);
      if (Number.isInteger(size) && size >= 1 && size <= LARGEST) return resize({ [name]: size });
      const given = target.value || "nothing";
      showControls();
      byId("problem").textContent = `${name} (=${given}) must be a whole number in 1..${LARGEST}.`;
    });
  for (const size of [2, 3, 4, 8, 16]) {
    const button = byId("presets").appendChild(element("button", "", String(size)));
    button.type = "button";
    button.setAttribute("aria-label", `Array and matrices ${size} by ${size}`);
    button.addEventListener("click", () =>
      resize({ rows: size, cols: size, M: size, K: size, N: size }),
    );
  }
}

function wireChoices() {
  for (const title of titles) {
    const option = byId("source").appendChild(element("option", "", title));
    option.value = title;
  }
  byId("source").addEventListener("change", ({ target }) => load(target.value, chosen.dataflow));
  const tabs = [...byId("dataflows").children];
  const choose = (dataflow) =>
    chosen.edited ? edit({ dataflow, moment: 0 }) : load(chosen.title, dataflow);
  for (const tab of tabs) tab.addEventListener("click", () => choose(tab.dataset.dataflow));
  byId("dataflows").addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!move) return;
    event.preventDefault();
    const next = tabs[(tabs.indexOf(event.target) + move + tabs.length) % tabs.length];
    next.focus();
    choose(next.dataset.dataflow);
  });
  const show = (symbolic) => {
    chosen.symbolic = symbolic;
    rebuild(chosen.moment);
  };
  byId("numbers").addEventListener("click", () => show(false));
  byId("symbols").addEventListener("click", () => show(true));
  byId("reset").addEventListener("click", () => load(chosen.title, chosen.dataflow));
  byId("random").addEventListener("click", () => {
    const any = () => Math.floor(Math.random() * 19) - 9;
    const fill = (matrix) => matrix.map((row) => row.map(any));
    edit({ x: fill(chosen.x), w: fill(chosen.w) });
  });
}

function wirePlayer() {
  for (const speed of SPEEDS) {
    const option = byId("speed").appendChild(element("option", "", `${speed} / s`));
    option.value = speed;
  }
  byId("speed").value = 2;
  byId("speed").addEventListener("change", () => timer && play());
  byId("play").addEventListener("click", () => (timer ? pause() : play()));
  byId("first").addEventListener("click", () => step(0));
  byId("back").addEventListener("click", () => step(chosen.moment - 1));
  byId("forward").addEventListener("click", () => step(chosen.moment + 1));
  byId("last").addEventListener("click", () => step(scene.run.cycles));
  byId("slider").addEventListener("input", ({ target }) => step(Number(target.value)));
}

function wireKeys() {
  byId("machine").addEventListener("keydown", (event) => {
    const [r, c] = chosen.selected;
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const by = move[event.key];
    if (!by || !event.target.closest(".pe")) return;
    event.preventDefault();
    select(r + by[0], c + by[1]);
  });
  document.addEventListener("keydown", (event) => {
    // Fields, lists, tabs and buttons keep the keys that are theirs.
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    const { target } = event;
    if (target.matches("input:not([type=range]), select, [role=tab]")) return;
    if (event.key === " " && target.matches("button")) return;
    const actions = {
      " ": () => (timer ? pause() : play()),
      ArrowLeft: () => step(chosen.moment - 1),
      ArrowRight: () => step(chosen.moment + 1),
      Home: () => step(0),
      End: () => step(scene.run.cycles),
    };
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  });
}

function wireTheme() {
  const themes = ["system", "light", "dark"];
  byId("theme").addEventListener("click", ({ target }) => {
    const now = document.documentElement.dataset.theme ?? "system";
    const next = themes[(themes.indexOf(now) + 1) % themes.length];
    document.documentElement.dataset.theme = next;
    target.textContent = `Theme: ${next}`;
  });
}

wireChoices();
wireSizes();
wirePlayer();
wireKeys();
wireTheme();
const { agrees, text } = verdict();
byId("agreement").textContent = text;
byId("agreement").dataset.agrees = agrees;
byId("alert").hidden = agrees;
byId("alert").textContent = agrees ? "" : text;
load(chosen.title, chosen.dataflow);

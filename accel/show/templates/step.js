// The page: what is chosen, what is shown, and the controls.

const SPEEDS = [0.5, 1, 2, 4, 8, 16];
const LARGEST = 16;
const NAMES = { ws: "Weight-stationary", os: "Output-stationary", is: "Input-stationary" };

const examples = JSON.parse(byId("examples").textContent).map(readExample);
const titles = [...new Set(examples.map(({ title }) => title))];
const chosen = {
  title: titles[0],
  dataflow: examples[0].dataflow,
  symbolic: examples[0].symbolic,
  // Set once matrices or sizes are not the example's any more.
  edited: false,
  rows: 0,
  cols: 0,
  x: [],
  w: [],
  moment: 0,
  selected: [0, 0],
};
let scene = null;
let stage = null;
let timer = null;

function readExample(example) {
  const { weight, input, sum, valid, captured, captured_valid, phases, ...rest } = example;
  const bits = (rows) => rows.map((row) => row.map(Boolean));
  const registers = { weight, input, sum, valid: valid.map(bits) };
  const capturedValid = bits(captured_valid);
  const run = { registers, captured, capturedValid, phases, cycles: phases.length };
  return { ...rest, run };
}

const exampleOf = (title, dataflow) =>
  examples.find((one) => one.title === title && one.dataflow === dataflow);

// Where the page's own array and the simulator's trace differ; nothing, it is hoped.
function verdict() {
  const registers = examples
    .map(({ run, rows, cols }) => run.cycles * rows * cols * REGISTERS.length)
    .reduce((sum, count) => sum + count, 0);
  const cycles = examples.reduce((sum, { run }) => sum + run.cycles, 0);
  for (const example of examples) {
    const found = difference(simulate(example), example.run);
    if (found)
      return { agrees: false, text: `The script and the simulator DISAGREE. “${example.title}”, ` +
        `${NAMES[example.dataflow].toLowerCase()}: ${found}. The trace of the simulator is shown.` };
  }
  return { agrees: true, text: `✓ The script and the simulator agree on all ` +
    `${registers.toLocaleString("en")} registers of ${plural(cycles, "cycle")} ` +
    `(${plural(examples.length, "trace")} of Lockstep's simulator, embedded here).` };
}

function names(matrix, letters, base) {
  const few = matrix.length * matrix[0].length <= 26;
  return matrix.map((row, r) =>
    row.map((_, c) =>
      few ? String.fromCharCode(letters.charCodeAt(0) + r * row.length + c) : `${base}${r}.${c}`,
    ),
  );
}

function makeScene() {
  const { dataflow, rows, cols, symbolic } = chosen;
  const tile = leadingTile(chosen);
  const numeric = { dataflow, rows, cols, x: tile.x, w: tile.w };
  const trace = chosen.edited ? null : exampleOf(chosen.title, dataflow);
  const side = Math.max(rows, cols);
  const size = side <= 4 ? "large" : side <= 10 ? "medium" : "small";
  const base = { ...numeric, whole: tile.whole, traced: Boolean(trace), size, symbolic };
  if (!symbolic) return { ...base, run: trace ? trace.run : simulate(numeric) };
  const named = leadingTile({
    ...chosen,
    x: names(chosen.x, "a", "x"),
    w: names(chosen.w, "A", "w"),
  });
  const terms = { ...numeric, x: named.x, w: named.w, ring: SYMBOLS };
  return { ...base, x: named.x, w: named.w, run: simulate(terms) };
}

function load(title, dataflow) {
  const example =
    exampleOf(title, dataflow) ?? examples.find((one) => one.title === title);
  const { rows, cols, x, w, symbolic } = example;
  const other = title !== chosen.title;
  Object.assign(chosen, { title, dataflow, rows, cols, x, w, edited: false });
  if (other) chosen.symbolic = symbolic;
  rebuild(0);
}

function edit(change, what) {
  Object.assign(chosen, change, { edited: true });
  rebuild(chosen.moment, what);
}

// The tables stay while one of their cells is edited: the keyboard is in them.
function rebuild(moment, { tables = true } = {}) {
  pause();
  scene = makeScene();
  const [r, c] = chosen.selected;
  chosen.selected = [Math.min(r, scene.rows - 1), Math.min(c, scene.cols - 1)];
  stage = buildStage(byId("machine"), scene, select);
  Object.assign(byId("bench").dataset, { size: scene.size, symbolic: scene.symbolic });
  byId("note").textContent = FLOW_WORDS[scene.dataflow];
  // Where the array is wider than the screen it opens with its left edge in sight.
  byId("scroll").scrollLeft = stage.cells[0][0].pe.offsetLeft - 80;
  byId("stage").setAttribute("aria-labelledby", `tab-${scene.dataflow}`);
  buildPhases();
  if (tables) buildTables();
  showControls();
  goto(Math.min(moment, scene.run.cycles));
}

function showControls() {
  byId("source").value = chosen.title;
  for (const tab of byId("dataflows").children) {
    const active = tab.dataset.dataflow === chosen.dataflow;
    tab.setAttribute("aria-selected", active);
    tab.tabIndex = active ? 0 : -1;
  }
  byId("numbers").setAttribute("aria-pressed", !chosen.symbolic);
  byId("symbols").setAttribute("aria-pressed", chosen.symbolic);
  const sizes = { rows: chosen.rows, cols: chosen.cols, M: chosen.x.length,
    K: chosen.w.length, N: chosen.w[0].length };
  for (const [id, value] of Object.entries(sizes)) byId(id).value = value;
  byId("reset").disabled = !chosen.edited;
  byId("slider").max = scene.run.cycles;
  byId("about").textContent = about();
}

function about() {
  const { M, K, N } = shape(scene);
  const from = scene.traced
    ? "Registers: the trace of Lockstep's simulator."
    : "Registers: computed by this page's script.";
  const names = scene.traced && scene.symbolic ? " Names instead of numbers: the script." : "";
  const part = scene.whole
    ? ""
    : ` The product is larger than one tile: X ${M} × ${K} and W ${K} × ${N} of it are shown.`;
  return `${NAMES[scene.dataflow]}, ${scene.rows} × ${scene.cols} PEs, ` +
    `X ${M} × ${K} · W ${K} × ${N}. ${from}${names}${part}`;
}

function goto(moment) {
  chosen.moment = Math.max(0, Math.min(moment, scene.run.cycles));
  const now = chosen.moment;
  stage.draw(now, chosen.selected);
  const slider = byId("slider");
  slider.value = now;
  const phase = now ? scene.run.phases[now - 1] : "start";
  slider.setAttribute("aria-valuetext", `edge ${now} of ${scene.run.cycles}, ${phase}`);
  byId("phases").style.setProperty("--now", now / scene.run.cycles);
  for (const segment of byId("phases").children)
    segment.toggleAttribute("data-now", segment.dataset.phase === phase);
  const { macs, total, idle, utilization } = counts(scene, now);
  byId("edge").textContent = `${now} of ${scene.run.cycles}`;
  byId("phase").textContent = phase;
  byId("macs").textContent = `${macs} of ${total}`;
  byId("idle").textContent = idle;
  byId("utilization").textContent = `${(100 * utilization).toFixed(1)} %`;
  byId("sentence").textContent = sentence(scene, now, stage.results);
  byId("inspector").textContent = inspection(scene, now, chosen.selected);
  drawResults();
  for (const id of ["first", "back"]) byId(id).disabled = now === 0;
  for (const id of ["forward", "last"]) byId(id).disabled = now === scene.run.cycles;
}

function select(r, c) {
  const clamp = (value, size) => Math.max(0, Math.min(value, size - 1));
  chosen.selected = [clamp(r, scene.rows), clamp(c, scene.cols)];
  goto(chosen.moment);
  const [row, col] = chosen.selected;
  stage.cells[row][col].pe.focus({ preventScroll: false });
}

function pause() {
  clearInterval(timer);
  timer = null;
  showPlaying();
}

function play() {
  if (chosen.moment === scene.run.cycles) goto(0);
  clearInterval(timer);
  timer = setInterval(() => {
    goto(chosen.moment + 1);
    if (chosen.moment === scene.run.cycles) pause();
  }, 1000 / Number(byId("speed").value));
  showPlaying();
}

function showPlaying() {
  const button = byId("play");
  button.textContent = timer ? "❚❚ Pause" : "▶ Play";
  button.setAttribute("aria-label", timer ? "Pause" : "Play");
  // A reader that speaks every edge would never catch up.
  byId("sentence").setAttribute("aria-live", timer ? "off" : "polite");
}

function step(moment) {
  pause();
  goto(moment);
}

function buildPhases() {
  const lengths = new Map();
  for (const phase of scene.run.phases) lengths.set(phase, (lengths.get(phase) ?? 0) + 1);
  byId("phases").replaceChildren(
    ...[...lengths].map(([phase, length]) => {
      const segment = element("button", `phase ${phase}`, `${phase} ${length}`);
      segment.type = "button";
      segment.dataset.phase = phase;
      segment.title = `${PHASE_WORDS[phase](chosen.dataflow)}; ${plural(length, "edge")}`;
      segment.style.setProperty("--edges", length);
      segment.addEventListener("click", () => step(scene.run.phases.indexOf(phase) + 1));
      return segment;
    }),
  );
}

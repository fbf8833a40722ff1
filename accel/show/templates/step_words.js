// What happens on an edge, in words.

const PHASE_WORDS = {
  load: () => "Load: the operands that stay move in",
  fill: (dataflow) =>
    dataflow === "os"
      ? "Fill: the operands have not reached the last PE yet"
      : "Fill: no sum has reached the bottom yet",
  stream: (dataflow) =>
    dataflow === "os"
      ? "Stream: the last PE multiplies on every edge"
      : "Stream: column 0 gives a result on every edge",
  drain: (dataflow) =>
    dataflow === "os"
      ? "Drain: every sum moves down one PE, the bottom row leaves"
      : "Drain: the columns further right give their last results",
};

const FLOW_WORDS = {
  ws: "W is loaded from the top and stays. X enters from the left, sums fall out below.",
  os: "X enters from the left, W from the top. The sums stay, then drain through the bottom.",
  is: "X is loaded from the top and stays. W enters from the left, sums fall out below.",
};

const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

function sentence(scene, moment, found) {
  const { dataflow, rows, cols, run } = scene;
  if (moment === 0)
    return "Before the first edge: every register holds 0. Play, or step with the arrow keys.";
  const phase = run.phases[moment - 1];
  if (phase === "load") return `Load. ${loading(scene, moment)}`;
  const words = [`${PHASE_WORDS[phase](dataflow)}.`];
  if (dataflow !== "os" || phase !== "drain")
    words.push(entering(scene, moment), working(scene, moment));
  words.push(leaving(found.filter(({ cycle }) => cycle === moment - 1)));
  if (moment === run.cycles)
    words.push(`Done: ${plural(run.cycles, "edge")} on a ${rows} × ${cols} array.`);
  return words.filter(Boolean).join(" ");
}

function loading({ dataflow, rows, x, w }, moment) {
  const row = rows - moment;
  const real = row < (dataflow === "ws" ? w.length : x[0].length);
  const name = dataflow === "ws" ? `Row ${row} of W` : `Column ${row} of X`;
  const what = real ? name : "A row of zeros (padding)";
  return `${what} enters at the top; what is inside moves down one PE.`;
}

function entering({ dataflow, rows, x, w }, moment) {
  const item = dataflow === "os" ? moment - 1 : moment - rows - 1;
  const last = { ws: x.length, is: w[0].length, os: w.length }[dataflow];
  if (item >= last) return "";
  const names = {
    ws: `Row ${item} of X is presented`,
    is: `Column ${item} of W is presented`,
    os: `Column ${item} of X and row ${item} of W are presented`,
  };
  return `${names[dataflow]}; each lane waits in as many skew registers as its number.`;
}

function working(scene, moment) {
  const { valid } = registersAt(scene, moment);
  const doing = valid.map((row, r) => row.map((_, c) => activity(scene, moment, valid, r, c)));
  const count = (kind) => doing.flat().filter((one) => one === kind).length;
  const wasted = count("pad") ? `, ${count("pad")} on padding` : "";
  const busy = count("work");
  const verb = busy === 1 ? "multiplies and adds" : "multiply and add";
  return `${busy} of ${plural(scene.rows * scene.cols, "PE")} ${verb}${wasted}.`;
}

function leaving(fresh) {
  if (!fresh.length) return "";
  const shown = fresh.slice(0, 3).map(({ m, n, value }) => `Y[${m}][${n}] = ${fitted(value, 40)}`);
  const more = fresh.length > 3 ? ` and ${fresh.length - 3} more` : "";
  return `Out: ${shown.join(", ")}${more}.`;
}

// What the chosen PE did on this edge, from the registers before and after it.
function inspection(scene, moment, [r, c]) {
  const name = `PE (${r}, ${c})`;
  if (moment === 0) return `${name}: nothing yet. Choose a PE to see what it computes.`;
  const before = registersAt(scene, moment - 1);
  const after = registersAt(scene, moment);
  const doing = activity(scene, moment, after.valid, r, c);
  const sum = after.sum[r][c];
  if (doing === "work" || doing === "pad") {
    const inPlace = scene.dataflow === "os";
    const first = inPlace && (moment === 1 || !wasValid(scene, moment, r, c));
    const source = inPlace ? before.sum[r][c] : r ? before.sum[r - 1][c] : 0;
    const where = inPlace ? "held here" : r ? "from above" : "the top starts at 0";
    const start = first ? "0 (first item)" : `${source} (${where})`;
    return `${name}: sum ← ${start} + ${after.input[r][c]} × ${after.weight[r][c]} = ${sum}`;
  }
  if (doing === "move") {
    const what = scene.run.phases[moment - 1] === "drain" ? "sum" : HELD[scene.dataflow];
    const from = r ? `PE (${r - 1}, ${c})` : "the top edge";
    return `${name}: ${what} ← ${after[what][r][c]}, from ${from}`;
  }
  const stays = scene.dataflow === "os" && scene.run.phases[moment - 1] !== "drain";
  const rest = stays ? `keeps its sum ${sum}` : `its sum is ${sum}`;
  return `${name}: no operand this edge; ${rest}`;
}

// Whether the PE had worked before this edge; items come without a gap.
function wasValid(scene, moment, r, c) {
  return scene.run.registers.valid[moment - 2][r][c];
}

// The array, register by register: pure functions that know nothing of the page.
//
// A run is { cycles, phases, registers, captured, capturedValid }. registers.weight,
// .input, .sum and .valid are [cycle][row][col], as they stand after each clock edge;
// captured is [cycle][col], what left the array at the bottom on that edge.

const REGISTERS = ["weight", "input", "sum", "valid"];

const INTEGERS = {
  zero: 0,
  multiply: (input, weight) => input * weight,
  add: (sum, product) => sum + product,
};

// The same machine over names: its sums read "aA+bD". Padding is "0" and leaves no term.
const SYMBOLS = {
  zero: "0",
  multiply: (input, weight) => (input === "0" || weight === "0" ? "0" : input + weight),
  add: (sum, product) =>
    product === "0" ? sum : sum === "0" ? product : `${sum}+${product}`,
};

const line = (length, value) => Array.from({ length }, (_, i) => value(i));
const grid = (rows, cols, value) => line(rows, (r) => line(cols, (c) => value(r, c)));
const transpose = (matrix) => line(matrix[0].length, (c) => matrix.map((row) => row[c]));
const padded = (matrix, rows, cols, zero) =>
  grid(rows, cols, (r, c) => matrix[r]?.[c] ?? zero);

// What [M, K] x [K, N] takes of the array: the used rows, columns, and the items streamed.
function usage(dataflow, M, K, N) {
  return { ws: [K, N, M], is: [K, M, N], os: [M, N, K] }[dataflow];
}

// The leading tile of a product that fits the array in one go.
function leadingTile({ dataflow, rows, cols, x, w }) {
  const [M, K, N] = [x.length, w.length, w[0].length];
  const most = { ws: [M, rows, cols], is: [cols, rows, N], os: [rows, K, cols] }[dataflow];
  const [m, k, n] = [M, K, N].map((size, i) => Math.min(size, most[i]));
  return {
    x: x.slice(0, m).map((row) => row.slice(0, k)),
    w: w.slice(0, k).map((row) => row.slice(0, n)),
    whole: m === M && k === K && n === N,
  };
}

function simulate({ dataflow, rows, cols, x, w, ring = INTEGERS }) {
  if (dataflow === "os") return runOutputs({ rows, cols, x, w, ring });
  // Input-stationary is weight-stationary with the product transposed.
  const weights = dataflow === "ws";
  const run = runHeld({
    rows,
    cols,
    held: padded(weights ? w : transpose(x), rows, cols, ring.zero),
    items: padded(weights ? x : transpose(w), weights ? x.length : w[0].length, rows, ring.zero),
    multiply: weights ? ring.multiply : (moving, held) => ring.multiply(held, moving),
    ring,
  });
  const { held, moving, sum, valid } = run.registers;
  const [weight, input] = weights ? [held, moving] : [moving, held];
  return { ...run, registers: { weight, input, sum, valid } };
}

// A shift register: what falls out, and its new content.
function shift(register, entering) {
  const all = [entering, ...register];
  return [all[all.length - 1], all.slice(0, -1)];
}

// A tile stands in the array, items stream past it, sums move down.
function runHeld({ rows, cols, held, items, multiply, ring }) {
  const nothing = { value: ring.zero, valid: false };
  let state = {
    held: grid(rows, cols, () => ring.zero),
    moving: grid(rows, cols, () => nothing),
    sum: grid(rows, cols, () => ring.zero),
    skew: line(rows, (r) => line(r, () => nothing)),
  };
  const log = { held: [], moving: [], sum: [], valid: [] };
  const run = { registers: log, phases: [], captured: [], capturedValid: [] };
  // The last result of every item leaves the last column.
  for (let edge = 1, finished = 0; finished < items.length; edge += 1) {
    const loading = edge <= rows;
    const item = items[edge - rows - 1];
    const top = loading ? held[rows - edge] : null;
    state = heldEdge(state, top, item, { rows, cols, nothing, multiply, ring });
    const bottom = state.moving[rows - 1].map((operand) => operand.valid);
    log.held.push(state.held);
    log.moving.push(state.moving.map((row) => row.map((operand) => operand.value)));
    log.valid.push(state.moving.map((row) => row.map((operand) => operand.valid)));
    log.sum.push(state.sum);
    run.captured.push(bottom.map((valid, c) => (valid ? state.sum[rows - 1][c] : ring.zero)));
    run.capturedValid.push(bottom);
    const begun = run.capturedValid.some((valid) => valid[0]);
    run.phases.push(loading ? "load" : bottom[0] ? "stream" : begun ? "drain" : "fill");
    finished += Number(bottom[cols - 1]);
  }
  return { ...run, cycles: run.phases.length };
}

// One clock edge: every register from the old values of its neighbours.
function heldEdge(old, top, item, { rows, cols, nothing, multiply, ring }) {
  const skewed = old.skew.map((register, r) =>
    shift(register, item ? { value: item[r], valid: true } : nothing),
  );
  const wire = grid(rows, cols, (r, c) => (c === 0 ? skewed[r][0] : old.moving[r][c - 1]));
  return {
    held: top ? [top, ...old.held.slice(0, -1)] : old.held,
    moving: wire,
    sum: grid(rows, cols, (r, c) => {
      if (!wire[r][c].valid) return ring.zero;
      const above = r === 0 ? ring.zero : old.sum[r - 1][c];
      return ring.add(above, multiply(wire[r][c].value, old.held[r][c]));
    }),
    skew: skewed.map(([, register]) => register),
  };
}

// Sums stand in the array, both operands stream past; then the sums are shifted out.
function runOutputs({ rows, cols, x, w, ring }) {
  const depth = w.length;
  const nothing = { value: ring.zero, valid: false, first: false };
  const left = transpose(padded(x, rows, depth, ring.zero));
  const top = padded(w, depth, cols, ring.zero);
  let state = {
    input: grid(rows, cols, () => nothing),
    weight: grid(rows, cols, () => nothing),
    sum: grid(rows, cols, () => ring.zero),
    leftSkew: line(rows, (r) => line(r, () => nothing)),
    topSkew: line(cols, (c) => line(c, () => nothing)),
  };
  const log = { weight: [], input: [], sum: [], valid: [] };
  const run = { registers: log, phases: [], captured: [], capturedValid: [] };
  for (let k = 0, worked = 0, drained = 0; drained < rows; k += 1) {
    const draining = worked === depth;
    const bottom = state.sum[rows - 1];
    const entering = k < depth ? { left: left[k], top: top[k], first: k === 0 } : null;
    state = outputsEdge(state, entering, draining, { rows, cols, nothing, ring });
    for (const name of ["weight", "input"])
      log[name].push(state[name].map((row) => row.map((operand) => operand.value)));
    log.valid.push(state.input.map((row) => row.map((operand) => operand.valid)));
    log.sum.push(state.sum);
    run.captured.push(bottom.map((sum) => (draining ? sum : ring.zero)));
    run.capturedValid.push(bottom.map(() => draining));
    const last = state.input[rows - 1][cols - 1].valid;
    run.phases.push(draining ? "drain" : last ? "stream" : "fill");
    worked += Number(last);
    drained += Number(draining);
  }
  return { ...run, cycles: run.phases.length };
}

function outputsEdge(old, entering, draining, { rows, cols, nothing, ring }) {
  const operand = (value) => ({ value, valid: true, first: entering.first });
  const fromLeft = old.leftSkew.map((register, r) =>
    shift(register, entering ? operand(entering.left[r]) : nothing),
  );
  const fromTop = old.topSkew.map((register, c) =>
    shift(register, entering ? operand(entering.top[c]) : nothing),
  );
  const input = grid(rows, cols, (r, c) => (c ? old.input[r][c - 1] : fromLeft[r][0]));
  const weight = grid(rows, cols, (r, c) => (r ? old.weight[r - 1][c] : fromTop[c][0]));
  const accumulated = (r, c) => {
    if (!input[r][c].valid) return old.sum[r][c];
    const before = input[r][c].first ? ring.zero : old.sum[r][c];
    return ring.add(before, ring.multiply(input[r][c].value, weight[r][c].value));
  };
  const above = (r, c) => (r === 0 ? ring.zero : old.sum[r - 1][c]);
  return {
    input,
    weight,
    sum: grid(rows, cols, draining ? above : accumulated),
    leftSkew: fromLeft.map(([, register]) => register),
    topSkew: fromTop.map(([, register]) => register),
  };
}

// Which sum [m][n] each capture is: [{ cycle, col, m, n, value }], padding left out.
function results(run, { dataflow, rows, M, N }) {
  const found = [];
  const count = run.captured[0].map(() => 0);
  run.capturedValid.forEach((valid, cycle) =>
    valid.forEach((real, col) => {
      if (!real) return;
      const order = count[col]++;
      const [m, n] = { ws: [order, col], is: [col, order], os: [rows - 1 - order, col] }[dataflow];
      if (m < M && n < N) found.push({ cycle, col, m, n, value: run.captured[cycle][col] });
    }),
  );
  return found;
}

// The first place where two runs differ, or null.
function difference(script, simulator) {
  for (let t = 0; t < Math.min(script.cycles, simulator.cycles); t += 1) {
    const differ = (name, where, ours, theirs) =>
      `edge ${t + 1}, ${name}${where}: ${ours} in the script, ${theirs} in the simulator`;
    if (script.phases[t] !== simulator.phases[t])
      return differ("phase", "", script.phases[t], simulator.phases[t]);
    for (const name of REGISTERS) {
      const [ours, theirs] = [script.registers[name][t], simulator.registers[name][t]];
      for (let r = 0; r < ours.length; r += 1)
        for (let c = 0; c < ours[r].length; c += 1)
          if (ours[r][c] !== theirs[r]?.[c])
            return differ(name, ` of PE (${r}, ${c})`, ours[r][c], theirs[r]?.[c]);
    }
    for (const name of ["captured", "capturedValid"])
      for (let c = 0; c < script[name][t].length; c += 1)
        if (script[name][t][c] !== simulator[name][t][c])
          return differ(name, `, column ${c}`, script[name][t][c], simulator[name][t][c]);
  }
  if (script.cycles !== simulator.cycles)
    return `${script.cycles} edges in the script, ${simulator.cycles} in the simulator`;
  return null;
}

// ---------------------------------------------------------------- examples and layers

const examples = data("examples"), states = data("states");
const bytes = (text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
for (const example of examples) for (const layer of example.layers) for (const row of layer.rows) {
  row.values = new Uint16Array(bytes(row.values).buffer);
}
let shown = 0, layer = Math.max(0, examples[0].layers.length - 1), place = null, span = null;
const chooseExample = $("#choose-example"), chooseLayer = $("#choose-layer");
function choose() {
  $$(".example").forEach((one) => { one.hidden = +one.dataset.example !== shown; });
  $$(".layer").forEach((one) => { one.hidden = +one.dataset.layer !== layer; });
}
if (chooseExample) chooseExample.addEventListener("change", () => { shown = +chooseExample.value; place = span = null; choose(); mark(); });
if (chooseLayer) chooseLayer.addEventListener("change", () => { layer = +chooseLayer.value; choose(); say(); });
choose();

// ---------------------------------------------------------------- the step under the pointer

const width = (example) => (example.right - example.left) / example.labels.length;
function valueOf(one, row, unit, step) {
  const fold = Math.ceil(one.steps / one.columns), column = clamp(Math.floor(step / fold), 0, one.columns - 1);
  return { value: row.low + row.values[unit * one.columns + column] / 65535 * (row.high - row.low), fold };
}
function lineText(example, at) {
  return example.lines.filter((line) => at >= line.start && at < line.start + line.values.length && line.values[at - line.start] !== null)
    .map((line) => `${line.name} ${short(line.values[at - line.start])}`);
}
function say() {
  const example = examples[shown];
  if (place === null) { $("#readout").textContent = ""; return; }
  const one = example.layers[layer], parts = lineText(example, place);
  if (one && place >= one.start && place < one.start + one.steps) {
    for (const row of one.rows) {
      let sum = 0;
      for (let unit = 0; unit < row.units; unit++) sum += valueOf(one, row, unit, place - one.start).value;
      parts.push(`mean ${row.gate} ${short(sum / row.units)}`);
    }
  }
  $("#readout").replaceChildren(node("b", {}, example.labels[place]), " " + parts.join("  ·  "));
}
function mark() {
  const example = examples[shown], step = width(example);
  $$(`.example[data-example="${shown}"] svg.aligned`).forEach((svg) => {
    const height = svg.viewBox.baseVal.height, x = place === null ? -9 : example.left + step * (place + 0.5);
    $(".cross", svg).setAttribute("d", `M${x} 0V${height}`);
    const box = $(".span", svg);
    box.setAttribute("x", span ? example.left + step * span[0] : 0);
    box.setAttribute("width", span ? step * (span[1] - span[0] + 1) : 0);
  });
  say();
}
function pointAt(svg, event) {
  const box = svg.getBoundingClientRect(), view = svg.viewBox.baseVal;
  return { x: (event.clientX - box.left) / box.width * view.width, y: (event.clientY - box.top) / box.height * view.height };
}
function stepAt(point) {
  const example = examples[shown];
  return clamp(Math.floor((point.x - example.left) / width(example)), 0, example.labels.length - 1);
}
function tipFor(svg, point) {
  const example = examples[shown], lines = [example.labels[place]];
  const one = example.layers[layer], step = one ? place - one.start : -1;
  if (svg.classList.contains("maps") && one && step >= 0 && step < one.steps) {
    const row = one.rows.find((row) => point.y >= row.y && point.y < row.y + row.height);
    if (row) {
      const unit = clamp(Math.floor((point.y - row.y) / row.height * row.units), 0, row.units - 1), found = valueOf(one, row, unit, step);
      const number = row.units === one.order.length ? one.order[unit] : unit;
      lines.push(`unit ${number}: ${row.gate} = ${signed(found.value, 4)}`, row.name + (found.fold > 1 ? `, mean of ${found.fold} steps` : ""));
    }
  } else if (svg.classList.contains("influence") && example.influence) {
    const owes = example.influence, block = owes.edges.findIndex((edge, k) => place >= edge && place < owes.edges[k + 1]);
    if (block >= 0) owes.columns.slice(0, 8).forEach((name, column) => lines.push(`${name}: ${signed(owes.gradient[block][column], 4)} / ${signed(owes.occlusion[block][column], 4)}`));
  } else lines.push(...lineText(example, place));
  return lines.join("\n");
}
let from = null;
$$("svg.aligned").forEach((svg) => {
  svg.addEventListener("pointermove", (event) => {
    const point = pointAt(svg, event);
    place = stepAt(point);
    if (from !== null) span = [Math.min(from, place), Math.max(from, place)];
    mark();
    showTip(tipFor(svg, point), event.clientX, event.clientY);
  });
  svg.addEventListener("pointerleave", hideTip);
  svg.addEventListener("pointerdown", (event) => { from = place = stepAt(pointAt(svg, event)); span = [from, from]; mark(); });
});
document.addEventListener("pointerup", () => { if (from !== null) { from = null; search(); } });
$$(".wide").forEach((holder) => holder.addEventListener("keydown", (event) => {
  const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key], last = examples[shown].labels.length - 1;
  if (!move) return;
  event.preventDefault();
  const before = place;
  place = place === null ? (move > 0 ? 0 : last) : clamp(place + move, 0, last);
  if (event.shiftKey) {
    const other = span && before !== null ? (before === span[0] ? span[1] : span[0]) : before ?? place;
    span = [Math.min(other, place), Math.max(other, place)];
    search();
  } else span = null;
  mark();
}));
document.addEventListener("keydown", (event) => { if (event.key === "Escape") { span = place = null; hideTip(); mark(); } });

// ---------------------------------------------------------------- like states

if (states) {
  states.codes = new Int8Array(bytes(states.codes).buffer);
  states.begin = [];
  states.lengths.reduce((at, length) => { states.begin.push(at); return at + length; }, 0);
}
// The spans nearest to [start, stop) of a sequence, none overlapping; the same search as cellgate.trace.StateIndex.
function nearest(sequence, start, stop, count) {
  const size = stop - start, wide = states.width, found = [];
  const query = (states.begin[sequence] + start) * wide;
  states.lengths.forEach((length, k) => {
    const base = states.begin[k] * wide;
    for (let at = 0; at + size <= length; at++) {
      if (k === sequence && at < stop && start < at + size) continue;
      let sum = 0;
      for (let j = 0; j < size * wide; j++) { const gap = states.codes[query + j] - states.codes[base + at * wide + j]; sum += gap * gap; }
      found.push([sum, k, at]);
    }
  });
  found.sort((a, b) => a[0] - b[0]);
  const chosen = [];
  for (const [sum, k, at] of found) {
    if (chosen.length === count) break;
    if (chosen.some((one) => one.k === k && at < one.at + size && one.at < at + size)) continue;
    chosen.push({ k, at, distance: Math.sqrt(sum / (size * states.units)) * states.scale });
  }
  return chosen;
}
function around(match, size) {
  const begin = states.begin[match.k], margin = Math.max(size, 10);
  const low = Math.max(0, match.at - margin), high = Math.min(states.lengths[match.k], match.at + size + margin);
  if (states.signal) {
    const values = states.signal.slice(begin + low, begin + high), known = values.filter((value) => value !== null);
    const least = Math.min(...known), most = Math.max(...known), x = (t) => (t - low + 0.5) / (high - low) * 300;
    const y = (value) => 58 - 52 * (value - least) / (most - least || 1);
    const path = values.map((value, k) => value === null ? "" : `${k && values[k - 1] !== null ? "L" : "M"}${x(low + k).toFixed(1)} ${y(value).toFixed(1)}`).join("");
    return node("svg", { viewBox: "0 0 300 64", preserveAspectRatio: "none", role: "img", "aria-label": "what stands around the span" },
      node("rect", { x: x(match.at - 0.5), y: 0, width: size / (high - low) * 300, height: 64, class: "span" }), node("path", { d: path, class: "curve observed", "vector-effect": "non-scaling-stroke" }));
  }
  const text = (a, b) => states.labels.slice(begin + a, begin + b).join(states.joined ?? "");
  return node("p", {}, "…" + text(low, match.at), node("mark", {}, text(match.at, match.at + size)), text(match.at + size, high) + "…");
}
function search() {
  if (!states || !span) return;
  const [sequence, first] = states.shown[shown], one = examples[shown].layers[layer];
  const start = span[0] - one.start + first, stop = span[1] + 1 - one.start + first, labels = examples[shown].labels;
  const name = span[0] === span[1] ? labels[span[0]] : `${labels[span[0]]} to ${labels[span[1]]}`;
  const holder = $("#matches");
  holder.replaceChildren();
  if (start < 0 || stop > states.lengths[sequence]) {
    $("#chosen").textContent = `${name} was not read by the network, so it has no states: choose steps that were.`;
    return;
  }
  $("#chosen").textContent = `Nearest to ${name}, by ${states.what}:`;
  const size = stop - start;
  for (const match of nearest(sequence, start, stop, 6)) {
    const begin = states.begin[match.k] + match.at, ends = [states.labels[begin], states.labels[begin + size - 1]];
    const title = states.sequences.length > 1 ? states.sequences[match.k] + ", " : "";
    holder.append(node("div", { class: "match" },
      node("b", {}, title + (size > 1 ? `${ends[0]} to ${ends[1]}` : ends[0])), ` distance ${short(match.distance)}`, around(match, size)));
  }
}
if (states) {
  // Before anyone chose: the last steps that were read.
  const one = examples[0].layers[layer], last = one.start + one.steps - 1;
  span = [Math.max(one.start, last - 4), last];
  search();
  mark();
}

const example = data("data");
let unit = 0;
const stages = [];

$$(".chapter[data-section]").forEach((root) => {
  const passes = example.passes[root.dataset.section];
  if (!passes || !passes.length) return;
  const stacked = passes.some((one) => one.reads !== "x");
  const frames = stacked
    ? passes[0].order.flatMap((t) => passes.map((_, k) => [k, t]))
    : passes.flatMap((one, k) => one.order.map((t) => [k, t]));
  stages.push({ root, passes, frames, at: 0, timer: null });
});

function of(one, name, step) {
  const rows = one.values[name];
  return Array.isArray(rows[0]) ? rows[step][unit] : rows[unit];
}

function show(stage) {
  const { root, passes, frames, at } = stage;
  const [k, t] = frames[at], one = passes[k];
  $("[data-where]", root).textContent = `${one.name}, t${t + 1} ${example.names[t]}  (${at + 1} of ${frames.length})`;
  $$("[data-unit]", root).forEach((place) => { place.textContent = unit; });
  $("[data-step-name]", root).textContent = `t${t + 1} ${example.names[t]}, ${one.name}`;
  $$("[data-v]", root).forEach((place) => {
    const name = place.dataset.v;
    if (name === "reads") place.textContent = one.reads === "x" ? `x(t${t + 1})` : `${one.reads}, t${t + 1}`;
    else place.textContent = signed(of(one, name, t));
  });
  $$("[data-fill]", root).forEach((place) => { place.style.opacity = 0.55 * Math.abs(of(one, place.dataset.fill, t)); });
  $$(".box", root).forEach((box) => {
    const number = frames.findIndex(([p, s]) => p === +box.dataset.pass && s === +box.dataset.step);
    box.classList.toggle("now", number === at);
    box.classList.toggle("done", number < at);
  });
  const bodies = $$("[data-steps] tbody", root);
  bodies.forEach((body, p) => $$("[data-cell]", body).forEach((cell) => {
    const [step, name] = cell.dataset.cell.split(" ");
    cell.textContent = signed(of(passes[p], name, +step));
    cell.classList.toggle("now", p === k && +step === t);
  }));
  $('[data-do="unit"]', root).value = unit;
  $('[data-do="back"]', root).disabled = at === 0;
  paintStrips(stage);
}

function paintStrips(stage) {
  const [k, t] = stage.frames[stage.at], one = stage.passes[k];
  const rows = { x: one.x[t], ...Object.fromEntries(["i", "f", "g", "o", "c", "h"].map((n) => [n, one.values[n][t]])) };
  const holder = $("[data-strips]", stage.root);
  if (!holder.children.length) for (const name of Object.keys(rows)) {
    const canvas = node("canvas", { "data-strip": name, role: "img", "aria-label": `${name} of all units` });
    holder.append(node("span", { class: "gate", style: `color:var(--${name === "x" ? "soft" : name})` }, name), canvas);
    if (name === "x") canvas.style.cursor = "default";
    const index = (event) => {
      const box = canvas.getBoundingClientRect(), count = canvas.width / 8;
      return clamp(Math.floor((event.clientX - box.left) / box.width * count), 0, count - 1);
    };
    canvas.addEventListener("pointermove", (event) => {
      const [p, s] = stage.frames[stage.at], kind = canvas.dataset.strip, u = index(event);
      const value = kind === "x" ? stage.passes[p].x[s][u] : stage.passes[p].values[kind][s][u];
      showTip(kind === "x" ? `x, number ${u}: ${signed(value)}` : `unit ${u}: ${kind} = ${signed(value)}`, event.clientX, event.clientY);
    });
    canvas.addEventListener("pointerleave", hideTip);
    canvas.addEventListener("click", (event) => {
      if (canvas.dataset.strip === "x") return;
      unit = index(event);
      stages.forEach(show);
    });
  }
  for (const canvas of $$("canvas", holder)) {
    const name = canvas.dataset.strip, values = rows[name], plain = "ifo".includes(name);
    const colours = palette(plain ? "unsigned" : "signed");
    const most = name === "x" || name === "c" ? Math.max(1e-9, ...values.map(Math.abs)) : 1;
    canvas.width = 8 * values.length;
    canvas.height = 26;
    const pen = canvas.getContext("2d");
    values.forEach((value, u) => {
      const share = plain ? value : (value / most + 1) / 2;
      pen.fillStyle = `rgb(${colours[clamp(Math.round(share * 255), 0, 255)]})`;
      pen.fillRect(8 * u, 0, 8, 26);
    });
    if (name !== "x") {
      pen.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--bad");
      pen.lineWidth = 2.5;
      pen.strokeRect(8 * unit + 1, 1.25, 6, 23.5);
    }
  }
}

function move(stage, steps) {
  stage.at = clamp(stage.at + steps, 0, stage.frames.length - 1);
  show(stage);
}
function stop(stage) {
  clearInterval(stage.timer);
  stage.timer = null;
  const button = $('[data-do="play"]', stage.root);
  button.textContent = "Play";
  button.setAttribute("aria-pressed", "false");
}
function play(stage) {
  if (stage.timer) return stop(stage);
  if (stage.at === stage.frames.length - 1) move(stage, -stage.frames.length);
  const button = $('[data-do="play"]', stage.root);
  button.textContent = "Pause";
  button.setAttribute("aria-pressed", "true");
  stage.timer = setInterval(() => {
    move(stage, 1);
    if (stage.at === stage.frames.length - 1) stop(stage);
  }, 1400);
}
function setUnit(value) {
  unit = clamp(Math.round(value) || 0, 0, example.units - 1);
  stages.forEach(show);
}

stages.forEach((stage) => {
  const { root } = stage;
  $('[data-do="back"]', root).addEventListener("click", () => move(stage, -1));
  $('[data-do="next"]', root).addEventListener("click", () => (stage.at === stage.frames.length - 1 ? move(stage, -stage.at) : move(stage, 1)));
  $('[data-do="play"]', root).addEventListener("click", () => play(stage));
  $('[data-do="unit"]', root).addEventListener("change", (event) => setUnit(+event.target.value));
  $$(".box", root).forEach((box) => {
    const go = () => {
      stage.at = stage.frames.findIndex(([k, t]) => k === +box.dataset.pass && t === +box.dataset.step);
      show(stage);
    };
    box.setAttribute("tabindex", "0");
    box.addEventListener("click", go);
    box.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); go(); } });
  });
  show(stage);
});
document.addEventListener("keydown", (event) => {
  const from = event.target;
  if ((from.matches && from.matches("input, select, [role=tab]")) || event.ctrlKey || event.metaKey || event.altKey) return;
  const stage = stages.find((one) => !one.root.hidden);
  if (!stage) return;
  const action = {
    ArrowRight: () => move(stage, 1), ArrowLeft: () => move(stage, -1),
    ArrowUp: () => setUnit(unit + 1), ArrowDown: () => setUnit(unit - 1),
  }[event.key];
  if (action) { event.preventDefault(); action(); }
});
repaint.push(() => stages.forEach(paintStrips));

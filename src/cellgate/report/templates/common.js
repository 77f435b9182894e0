"use strict";
const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const clamp = (value, low, high) => Math.max(low, Math.min(high, value));
const data = (id) => { const block = document.getElementById(id); return block ? JSON.parse(block.textContent) : null; };

function signed(value, digits = 5) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  return (value < 0 || Object.is(value, -0) ? "−" : "+") + Math.abs(value).toFixed(digits);
}
function short(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e6 || size < 1e-3)) return value.toExponential(2).replace("-", "−");
  const digits = size >= 1000 ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : 3;
  return value.toLocaleString("en", { maximumFractionDigits: digits }).replace("-", "−");
}
function node(name, attributes = {}, ...children) {
  const spaces = ["svg", "g", "path", "rect", "line", "circle", "text", "image"];
  const made = spaces.includes(name) ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// ---------------------------------------------------------------- light and dark

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen === "dark" || (chosen === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
}
const repaint = [];
$("#theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  repaint.forEach((paint) => paint());
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => repaint.forEach((paint) => paint()));

// 256 colours between the stops of a map, for the theme in use.
function palette(kind) {
  const stops = COLOURS[kind][isDark() ? 1 : 0].map((hex) => [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16)));
  return Array.from({ length: 256 }, (_, k) => {
    const place = (k / 255) * (stops.length - 1), low = Math.min(Math.floor(place), stops.length - 2), part = place - low;
    return stops[low].map((value, channel) => Math.round(value + part * (stops[low + 1][channel] - value)));
  });
}

// ---------------------------------------------------------------- the box beside the pointer

const tip = $("#tip");
function showTip(text, x, y) {
  tip.textContent = text;
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = clamp(x + 14, 4, innerWidth - box.width - 4) + "px";
  tip.style.top = (y + 18 + box.height > innerHeight ? y - box.height - 12 : y + 18) + "px";
}
function hideTip() { tip.hidden = true; }

// ---------------------------------------------------------------- tabs

$$('[role="tablist"]').forEach((list) => {
  const tabs = $$('[role="tab"]', list);
  const choose = (chosen) => tabs.forEach((tab) => {
    const on = tab === chosen;
    tab.setAttribute("aria-selected", on);
    tab.tabIndex = on ? 0 : -1;
    document.getElementById(tab.getAttribute("aria-controls")).hidden = !on;
  });
  tabs.forEach((tab, k) => {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (event) => {
      const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!move) return;
      event.preventDefault();
      event.stopPropagation();
      const next = tabs[(k + move + tabs.length) % tabs.length];
      choose(next);
      next.focus();
    });
  });
  if (tabs.length) choose(tabs[0]);
});

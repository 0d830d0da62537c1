// Draws the figures that stand in the page as data, keeps them as wide as their column, and keeps explanations on the screen.
// It loads nothing and remembers nothing.
const still = { displayModeBar: false, responsive: true, scrollZoom: false, doubleClick: false };
for (const holder of document.querySelectorAll(".plot")) {
  const { data, layout } = JSON.parse(document.getElementById(holder.id + "-data").textContent);
  Plotly.newPlot(holder, data, layout, still);
}
for (const term of document.querySelectorAll(".term")) {
  const keepInside = () => {
    const tip = term.lastElementChild;
    tip.style.translate = "";
    const over = tip.getBoundingClientRect().right - document.documentElement.clientWidth + 12;
    if (over > 0) tip.style.translate = -over + "px";
  };
  term.addEventListener("pointerenter", keepInside);
  term.addEventListener("focus", keepInside);
  term.addEventListener("keydown", (event) => { if (event.key === "Escape") term.blur(); });
}
addEventListener("beforeprint", () => { for (const finding of document.querySelectorAll(".finding")) finding.open = true; });

"use strict";
const rows = [...document.querySelectorAll("tbody tr")];
const find = document.getElementById("find");
const family = document.getElementById("family");
const count = document.getElementById("count");
function filter() {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    const fits = words.every((word) => text.includes(word)) &&
      (!family.value || row.dataset.family === family.value);
    row.hidden = !fits;
    shown += fits;
  }
  for (const group of document.querySelectorAll("section.group"))
    group.hidden = !group.querySelector("tbody tr:not([hidden])");
  count.textContent = shown === rows.length ? `${shown} artifacts` : `${shown} of ${rows.length} artifacts`;
}
function sort(button) {
  const head = button.closest("th"), body = head.closest("table").tBodies[0];
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const each of head.parentNode.children) each.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = (row) => row.children[head.cellIndex].dataset.key;
  const numeric = head.classList.contains("number");
  [...body.rows]
    .sort((a, b) => numeric ? key(a) - key(b) : key(a).localeCompare(key(b), "en", { numeric: true }))
    .forEach((row) => down ? body.prepend(row) : body.append(row));
}
document.getElementById("tools").hidden = false;
find.addEventListener("input", filter);
family.addEventListener("change", filter);
for (const button of document.querySelectorAll("th button"))
  button.addEventListener("click", () => sort(button));
filter();

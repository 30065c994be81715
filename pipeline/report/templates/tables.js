"use strict";
(() => {
  // A sample is a group of lines of its own; elsewhere an item is a row.
  const itemsOf = (table) => Array.from(table.matches(".samples") ? table.tBodies : table.tBodies[0].rows);
  const cellOf = (item, column) => (item.rows ? item.rows[0] : item).cells[column];

  function valueOf(cell) {
    const raw = cell.getAttribute("data-value");
    if (raw === null) { return cell.textContent.trim().toLowerCase(); }
    return raw === "" ? -Infinity : Number(raw);
  }

  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") { return a < b ? -1 : a > b ? 1 : 0; }
    return String(a).localeCompare(String(b), "en", { numeric: true });
  }

  function sort(table, column, header) {
    const before = header.getAttribute("aria-sort");
    const isFalling = before ? before === "ascending" : header.classList.contains("n");
    table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", isFalling ? "descending" : "ascending");
    itemsOf(table)
      .map((item, index) => ({ item, index, value: valueOf(cellOf(item, column)) }))
      .sort((a, b) => (isFalling ? -1 : 1) * compare(a.value, b.value) || a.index - b.index)
      .forEach(({ item }) => item.parentNode.appendChild(item));
  }

  function makeSortable(table) {
    table.querySelectorAll("thead th").forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      header.append(button);
      button.addEventListener("click", () => sort(table, column, header));
    });
  }

  function makeFilter(bar) {
    const table = document.getElementById(bar.dataset.table);
    // texts are taken before controls come in, so that a search finds what the corpus and the audit say
    const items = itemsOf(table).map((item) => ({ item, text: item.textContent.toLowerCase() }));
    const search = bar.querySelector("input"), choices = Array.from(bar.querySelectorAll("select"));
    const status = bar.querySelector("[role=status]");
    function apply() {
      const wanted = search.value.trim().toLowerCase();
      let shown = 0;
      items.forEach(({ item, text }) => {
        const isChosen = choices.every(({ name, value }) => !value || (item.dataset[name] || "").split(" ").includes(value));
        item.hidden = !isChosen || !text.includes(wanted);
        shown += item.hidden ? 0 : 1;
      });
      status.textContent = `${shown} of ${items.length} shown`;
    }
    bar.addEventListener("input", apply);
    bar.hidden = false;
    apply();
  }

  function followSections() {
    const links = new Map(Array.from(document.querySelectorAll("nav a")).map((link) => [link.hash.slice(1), link]));
    const watcher = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
      links.forEach((link) => link.removeAttribute("aria-current"));
      links.get(entry.target.id).setAttribute("aria-current", "true");
    }), { rootMargin: "-20% 0px -75% 0px" });
    links.forEach((_, id) => watcher.observe(document.getElementById(id)));
  }

  document.querySelectorAll(".scripted, .scriptless").forEach((told) => { told.hidden = told.matches(".scriptless"); });
  document.querySelectorAll("table.sortable").forEach(makeSortable);
  document.querySelectorAll(".filter").forEach(makeFilter);
  followSections();
})();

// Tables that sort by the column whose title is clicked: numbers in falling order first, words in alphabetical order.

function makeSortable(table) {
  const titles = [...table.tHead.rows[0].cells];
  const collator = new Intl.Collator("en", { numeric: true });
  let by = null;
  let falling = true;

  function valueOf(row) {
    const field = row.cells[by];
    const text = field.dataset.value ?? field.textContent.replace(/[,\s%+]/g, "").replace("−", "-");
    const number = Number(text);
    return text !== "" && Number.isFinite(number) ? number : field.textContent.trim();
  }

  function compare(first, second) {
    const [a, b] = [valueOf(first), valueOf(second)];
    const order = typeof a === "number" && typeof b === "number" ? a - b : collator.compare(a, b);
    return falling ? -order : order;
  }

  function again() {
    if (by === null) return;
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort(compare));
    titles.forEach((title, index) => {
      if (index === by) title.setAttribute("aria-sort", falling ? "descending" : "ascending");
      else title.removeAttribute("aria-sort");
    });
  }

  titles.forEach((title, index) => {
    const label = title.textContent;
    if (label.trim() === "") return;
    const press = () => {
      if (by === index) falling = !falling;
      else {
        by = index;
        falling = [...table.tBodies[0].rows].some((row) => typeof valueOf(row) === "number");
      }
      again();
    };
    title.replaceChildren(button(label, press, { class: "sort" }));
  });
  return { again };
}

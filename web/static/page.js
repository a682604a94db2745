// What every page does beyond plain HTML: times in the visitor's zone, copy buttons, the countdown before a start.
// Each part looks for its own elements and leaves the page as it is where there are none.

const language = document.documentElement.lang;

/**
 * Shows every `<time data-at>` in the visitor's zone, and says so, where that zone's clock is another one than the provider's.
 * What stands inside `data-provider-zone` (the provider's clock, the guide, whose days are the provider's) stays as it is.
 */
function ownZone() {
  const names = new Intl.DateTimeFormat(language, { weekday: "short", day: "numeric", month: language === "ja" ? "numeric" : "long" });
  const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const written = {
    time: (at) => clock.format(at),
    moment: (at) => {
      const part = Object.fromEntries(names.formatToParts(at).map(({ type, value }) => [type, value]));
      const [day, month] = [part.day.replace("日", ""), part.month.replace("月", "")];
      return language === "ja"
        ? `${month}月${day}日(${part.weekday}) ${clock.format(at)}`
        : `${part.weekday} ${day} ${month}, ${clock.format(at)}`;
    },
  };
  let first;
  for (const element of document.querySelectorAll("main time[data-at]")) {
    const at = new Date(element.dateTime);
    const write = written[element.dataset.at];
    if (!write || Number.isNaN(at.getTime()) || element.closest("[data-provider-zone]")) continue;
    const text = write(at);
    if (text === element.textContent) continue;
    element.title = element.textContent;
    element.textContent = text;
    first ??= at;
  }
  if (!first) return;
  const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
  for (const note of document.querySelectorAll("[data-own-zone]")) {
    note.textContent = `${note.dataset.ownZone}: ${timeZone}`;
    note.hidden = false;
  }
  const short = new Intl.DateTimeFormat(language, { timeZoneName: "short" }).formatToParts(first);
  const name = short.find(({ type }) => type === "timeZoneName")?.value ?? timeZone;
  for (const zone of document.querySelectorAll("[data-zone]")) zone.textContent = name;
}

/** Buttons that copy the field which they name. Without script they stay hidden: the field can be selected by hand. */
function copyButtons() {
  for (const button of document.querySelectorAll("button[data-copy]")) {
    const field = document.getElementById(button.dataset.copy);
    if (!field || !navigator.clipboard) continue;
    button.hidden = false;
    const label = button.querySelector("span");
    const usual = label.textContent;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(field.value);
      label.textContent = button.dataset.done;
      setTimeout(() => { label.textContent = usual; }, 2000);
    });
  }
}

/**
 * Counts down to a start, and loads the page anew once it is there. Where the visitor's clock says that the start is over while the
 * server says that it comes, the clocks differ: the page is left as it is.
 */
function countdown() {
  const element = document.querySelector("[data-countdown]");
  const target = element?.querySelector("b");
  if (!target) return;
  const start = new Date(element.dataset.countdown).getTime();
  const two = (number) => String(number).padStart(2, "0");
  const tick = () => {
    const seconds = Math.ceil((start - Date.now()) / 1000);
    if (seconds <= 0) {
      clearInterval(timer);
      setTimeout(() => location.reload(), 2000);
      return;
    }
    const days = Math.floor(seconds / 86400);
    const rest = `${two(Math.floor(seconds / 3600) % 24)}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
    target.textContent = days ? `${days} ${element.dataset.days} ${rest}` : rest;
  };
  if (start <= Date.now()) return;
  const timer = setInterval(tick, 1000);
  tick();
}

/** What is wrong with a form gets the focus, so that it is read first. */
function focusProblems() {
  document.getElementById("problems")?.focus();
}

ownZone();
copyButtons();
countdown();
focusProblems();

// Walks through an explorer page in a headless Chromium, as a reader would with keys and clicks.
// Reads {page, browser, profile} from standard input: the page's file, Chromium's program and an
// empty folder for its profile. Writes what was seen, for test_page_browser.py to judge.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];

const { page: file, browser, profile } = JSON.parse(readFileSync(0, "utf8"));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: browser, headless: true, args: FLAGS, viewport: { width: 1440, height: 900 },
});
const seen = { requests: [], complaints: [], errors: [], frames: [] };
const page = context.pages()[0] ?? (await context.newPage());
page.on("request", (request) => seen.requests.push(request.url()));
page.on("console", (message) => seen.complaints.push(`${message.type()}: ${message.text()}`));
page.on("pageerror", (error) => seen.errors.push(String(error)));

/** What a reader sees of the present step. */
const look = () => page.evaluate(() => {
  const texts = (selector) => [...document.querySelectorAll(selector)].map((e) => e.textContent.trim());
  const lit = (side) => Object.fromEntries(
    [...document.querySelectorAll(`figure[data-side="${side}"]`)].map((figure) => [
      figure.dataset.machine, figure.querySelector(".state.lit")?.dataset.state ?? null]));
  const moved = [...document.querySelectorAll("figure.moved")].map((figure) =>
    `${figure.dataset.side} ${figure.dataset.machine}`);
  const boxes = ["source", "target"].map((side) =>
    document.querySelector(`#diagrams figure.${side}`).getBoundingClientRect());
  return {
    place: document.querySelector("#place").textContent, note: texts("#happened p")[0] ?? "", here: texts("#steps li.here .words")[0],
    source: lit("source"), target: lit("target"), moved,
    broken: texts("#claim .broken h4"), letters: texts("#channel .letter"), lost: texts("#channel .lost"),
    enabled: [...document.querySelectorAll("button.event")].map((b) => Number(b.dataset.code)),
    expected: [...document.querySelectorAll("button.event.next")].map((b) => Number(b.dataset.code)),
    canReturn: !document.querySelector("#return").hidden,
    apart: boxes[0].right <= boxes[1].left,
    overflows: document.documentElement.scrollWidth > innerWidth,
  };
});

await page.goto(pathToFileURL(file).href);
seen.title = await page.title();
seen.sentence = await page.textContent("#sentence");
seen.verdict = await page.textContent("#verdict");
const count = await page.locator("#steps li").count();
seen.frames.push(await look());
for (let step = 1; step < count; step++) {
  await page.keyboard.press("ArrowRight");
  seen.frames.push(await look());
}
await page.keyboard.press("ArrowRight");
seen.beyond = await look();
await page.keyboard.press("Home");
seen.home = await look();
await page.keyboard.press("End");
await page.keyboard.press("ArrowLeft");
seen.beforeEnd = await look();
await page.locator("#steps li").nth(count - 3).click();
seen.clicked = await look();
// Leave the trace by the first event that is not its next one, and come back.
await page.locator("button.event:not(.next)").first().click();
seen.left = await look();
await page.click("#return");
seen.returned = await look();
await context.close();
process.stdout.write(JSON.stringify(seen));

// SPDX-License-Identifier: Apache-2.0
// 5,000 messages a second for 10 s: the page draws, answers at once, and shows what came.
import { spawn } from 'node:child_process';
import { check, eventually, given, run } from './lib.mjs';

const RATE = 5000;
const SECONDS = 10;
// A machine that builds something else beside this must not fail it: a frozen page misses by far.
const GAP_MS = 1000;
const TYPICAL_GAP_MS = 100;
const ANSWER_MS = 1000;

function watchFrames() {
	window.gaps = [];
	window.tasks = [];
	let last = performance.now();
	const frame = (now) => {
		window.gaps.push(now - last);
		last = now;
		requestAnimationFrame(frame);
	};
	requestAnimationFrame(frame);
	new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map(({ duration }) => duration)))
		.observe({ entryTypes: ['longtask'] });
}

// From a click inside the page to the frame that shows its effect.
function timeOfPause() {
	return new Promise((resolve) => {
		const started = performance.now();
		document.getElementById('pause').click();
		requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now() - started)));
	});
}

run(async (t) => {
	const page = t.page;
	await t.connect();
	await t.subscribe('flood/#');
	await page.evaluate(watchFrames);
	const load = spawn(process.execPath, [new URL('load.mjs', import.meta.url).pathname, given.tcp, 'flood/line', RATE,
		SECONDS, 100].map(String), { stdio: ['ignore', 'pipe', 'inherit'] });
	const ended = new Promise((resolve) => load.on('exit', resolve));
	const answers = [];
	while (load.exitCode === null) {
		await new Promise((resolve) => setTimeout(resolve, 900));
		answers.push(await page.evaluate(timeOfPause));
	}
	check(await ended === 0, 'the publisher wrote everything');
	if (await page.getAttribute('#pause', 'aria-pressed') === 'true') {
		await page.click('#pause');
	}
	const count = () => page.textContent('.subscription .count');
	await eventually(async () => (await count()).startsWith((RATE * SECONDS).toLocaleString('en')), 'all messages', 10000)
		.catch(async (error) => {
			throw new Error(`${error.message}; ${await count()}`);
		});
	const { gaps, tasks } = await page.evaluate(() => ({ gaps: window.gaps, tasks: window.tasks }));
	gaps.sort((a, b) => a - b);
	const figures = { frames: gaps.length, usual: gaps[gaps.length >> 1], in95: gaps[Math.floor(gaps.length * 0.95)],
		longest: gaps[gaps.length - 1], longestTask: Math.max(0, ...tasks), answer: Math.max(...answers) };
	console.log(`figures ${JSON.stringify(figures, (_key, value) => Math.round(value * 10) / 10 || value)}`);
	check(figures.in95 < TYPICAL_GAP_MS && figures.longest < GAP_MS, 'the page did not freeze');
	check(figures.longestTask < GAP_MS, 'no task was long');
	check(figures.answer < ANSWER_MS, 'a click is answered at once');
	const rows = await page.locator('.row-message').count();
	check(rows < 60, `the list holds only what one sees: ${rows} rows`);
	check(/10,000 messages/.test(await page.textContent('#counts')), 'the last 10,000 are kept');
});

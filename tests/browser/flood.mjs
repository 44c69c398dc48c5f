// SPDX-License-Identifier: Apache-2.0
// 5,000 messages a second for 10 s: the page draws, answers at once, and shows what came.
import { spawn } from 'node:child_process';
import { check, eventually, given, run } from './lib.mjs';

const RATE = 5000;
const SECONDS = 10;
// Of processor time, because a machine that does something else beside this makes a page wait that is not
// slow: the longest piece of work between two looks at what the user does, and all work in each second.
const TASK_MS = 100;
const WORK_MS = 500;

function watchFrames() {
	window.gaps = [];
	let last = performance.now();
	const frame = (now) => {
		window.gaps.push(now - last);
		last = now;
		requestAnimationFrame(frame);
	};
	requestAnimationFrame(frame);
}

// From a click inside the page to the frame that shows its effect.
function timeOfPause() {
	return new Promise((resolve) => {
		const started = performance.now();
		document.getElementById('pause').click();
		requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now() - started)));
	});
}

// How much processor time each task on the page's own thread took, in ms.
function tasksOf({ traceEvents }) {
	const threads = traceEvents.filter(({ name, args }) => name === 'thread_name' && args.name === 'CrRendererMain');
	return traceEvents.filter(({ name, pid, tid, tdur }) => name === 'ThreadControllerImpl::RunTask' &&
		tdur !== undefined && threads.some((thread) => thread.pid === pid && thread.tid === tid))
		.map(({ tdur }) => tdur / 1000);
}

run(async (t) => {
	const page = t.page;
	await t.connect();
	await t.subscribe('flood/#');
	await page.evaluate(watchFrames);
	await t.browser.startTracing(page, { categories: ['toplevel'] });
	const load = spawn(process.execPath, [new URL('load.mjs', import.meta.url).pathname, given.tcp, 'flood/line', RATE,
		SECONDS, 100].map(String), { stdio: ['ignore', 'pipe', 'inherit'] });
	const ended = new Promise((resolve) => load.on('exit', resolve));
	const answers = [];
	while (load.exitCode === null) {
		await new Promise((resolve) => setTimeout(resolve, 900));
		answers.push(await page.evaluate(timeOfPause));
	}
	check(await ended === 0, 'the publisher wrote everything');
	const tasks = tasksOf(JSON.parse(await t.browser.stopTracing()));
	if (await page.getAttribute('#pause', 'aria-pressed') === 'true') {
		await page.click('#pause');
	}
	const count = () => page.textContent('.subscription .count');
	await eventually(async () => (await count()).startsWith((RATE * SECONDS).toLocaleString('en')), 'all messages')
		.catch(async (error) => {
			throw new Error(`${error.message}; ${await count()}`);
		});
	const gaps = await page.evaluate(() => window.gaps);
	gaps.sort((a, b) => a - b);
	const figures = { frames: gaps.length, usual: gaps[gaps.length >> 1], in95: gaps[Math.floor(gaps.length * 0.95)],
		longest: gaps[gaps.length - 1], answer: Math.max(...answers), tasks: tasks.length,
		longestTask: Math.max(0, ...tasks), work: tasks.reduce((sum, task) => sum + task, 0) / SECONDS };
	console.log(`figures ${JSON.stringify(figures, (_key, value) => Math.round(value * 10) / 10 || value)}`);
	check(answers.length > 0 && figures.frames > answers.length, 'clicks are answered, and the page draws');
	check(figures.tasks > 0 && figures.longestTask < TASK_MS, 'no task is long, so that a click is answered at once');
	check(figures.work < WORK_MS, 'the page has time left');
	const rows = await page.locator('.row-message').count();
	check(rows < 60, `the list holds only what one sees: ${rows} rows`);
	check(/10,000 messages/.test(await page.textContent('#counts')), 'the last 10,000 are kept');
});

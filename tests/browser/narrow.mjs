// SPDX-License-Identifier: Apache-2.0
// A telephone: one panel at a time, nothing sticks out, everything can be done with a finger.
import { check, equal, run } from './lib.mjs';

async function nothingSticksOut(page, where) {
	const wide = await page.evaluate(() => ({ page: document.documentElement.scrollWidth, screen: innerWidth,
		out: Array.from(document.querySelectorAll('button, input, select, textarea, .panel, .chart, pre')).filter((element) => {
			const box = element.getBoundingClientRect();
			return element.checkVisibility() && box.width > 1 && (box.right > innerWidth + 1 || box.left < -1);
		}).map((element) => element.id || element.name || element.className) }));
	check(wide.page <= wide.screen, `${where}: the page is ${wide.page} px wide on ${wide.screen}`);
	equal(wide.out, [], `${where}: what sticks out`);
}

async function bigEnough(page, where) {
	const small = await page.evaluate(() => Array.from(document.querySelectorAll('button')).filter((button) => {
		const box = button.getBoundingClientRect();
		return button.checkVisibility() && (box.height < 24 || box.width < 24);
	}).map((button) => button.textContent || button.ariaLabel));
	equal(small, [], `${where}: buttons too small for a finger`);
}

run(async (t) => {
	const page = await t.open({ viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });
	const to = (panel) => page.tap(`.tabs [data-go="${panel}"]`);
	await t.connect();
	for (const panel of ['subscribe', 'publish', 'messages', 'live', 'connect']) {
		await to(panel);
		await t.seen(panel === 'live' ? '#live' : `.panel[data-panel="${panel}"]`);
		await nothingSticksOut(page, panel);
		await bigEnough(page, panel);
		await t.seen('#state');
	}
	await to('subscribe');
	await t.subscribe('phone/#');
	await to('publish');
	const topic = `phone/${'a-long-level/'.repeat(12)}end`;
	await t.publish(topic, JSON.stringify({ text: 'word '.repeat(200) }));
	await to('messages');
	const { row } = await t.message(topic);
	await nothingSticksOut(page, 'a long message in the list');
	await row.tap();
	await t.seen('#detail');
	await nothingSticksOut(page, 'a long message opened');
	await page.tap('[aria-label="Close the message"]');
	await t.seen('#list');
});

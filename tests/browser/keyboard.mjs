// SPDX-License-Identifier: Apache-2.0
// Everything by keyboard, with a focus that one sees and names that one hears.
import { check, equal, run } from './lib.mjs';

// Presses Tab until the element that matches has the focus.
async function tabTo(page, selector) {
	for (let presses = 0; presses < 60; presses++) {
		await page.keyboard.press('Tab');
		if (await page.evaluate((wanted) => document.activeElement.matches(wanted), selector)) {
			const seen = await page.evaluate(() => {
				const element = document.activeElement;
				const shown = element.matches('.segments input') ? element.nextElementSibling : element;
				const style = getComputedStyle(shown);
				return style.outlineStyle !== 'none' && style.outlineWidth !== '0px';
			});
			check(seen, `the focus on ${selector} is seen`);
			return;
		}
	}
	throw new Error(`Tab does not lead to ${selector}`);
}

// What has neither text nor label would be silent.
async function everythingHasAName(page) {
	const nameless = await page.evaluate(() => Array.from(document.querySelectorAll(
		'button, input, select, textarea, a[href], [role="listbox"], [role="img"], dialog')).filter((element) => {
		if (element.hidden) {
			return false;
		}
		const labelled = element.getAttribute('aria-labelledby');
		return !(element.ariaLabel || element.textContent.trim() || element.labels?.length ||
			labelled && document.getElementById(labelled));
	}).map((element) => element.outerHTML.slice(0, 100)));
	equal(nameless, [], 'elements without a name');
}

run(async (t) => {
	const page = t.page;
	const keys = page.keyboard;
	await everythingHasAName(page);
	await keys.press('Tab');
	equal(await page.evaluate(() => document.activeElement.className), 'skip', 'the first stop skips to the messages');
	await tabTo(page, '#connect-form [name="version"]');
	await tabTo(page, '#connect-button');
	await keys.press('Enter');
	await t.state('connected');
	await page.waitForFunction(() => document.activeElement.id === 'disconnect');
	await tabTo(page, '#subscribe-form [name="filter"]');
	await keys.type('keys/#');
	await tabTo(page, '#subscribe-form [name="qos"]');
	await keys.press('ArrowRight');
	await tabTo(page, '#subscribe-form button[type="submit"]');
	await keys.press('Space');
	await page.waitForFunction(() => document.querySelector('.subscription .badge')?.textContent === 'QoS 1');
	await tabTo(page, '#publish-form [name="topic"]');
	for (const number of [1, 2, 3]) {
		await page.focus('#publish-form [name="topic"]');
		await keys.press('Control+A');
		await keys.type(`keys/${number}`);
		await tabTo(page, '#payload');
		await keys.press('Control+Enter');
		await t.message(`keys/${number}`);
	}
	await tabTo(page, '#list');
	await keys.press('ArrowDown');
	await keys.press('ArrowDown');
	await t.reads('#detail h3', /^keys\/2$/);
	check(await page.evaluate(() => document.getElementById(
		document.getElementById('list').getAttribute('aria-activedescendant')).ariaSelected === 'true'), 'it is told');
	await keys.press('End');
	await t.reads('#detail h3', /^keys\/1$/);
	await keys.press('Escape');
	await t.unseen('#detail');
	await page.focus('.subscription [aria-label="keys/# as a command"]');
	await keys.press('Enter');
	await t.seen('#commands');
	await everythingHasAName(page);
	await keys.press('Escape');
	await t.unseen('#commands');
	await page.focus('.views [data-go="live"]');
	await keys.press('Enter');
	await tabTo(page, '.plot');
	await everythingHasAName(page);
});

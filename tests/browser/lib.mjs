// SPDX-License-Identifier: Apache-2.0
// What the scenarios share: a fresh Chromium, the console's page in it, and what one does there.
//
//     run(async (t) => { await t.connect(); ... });
//
// The one argument is JSON: {url, tcp, chromium, trust, ...} (see run.py). What only the runner can
// do, such as restarting the broker, is asked for on standard output and answered on standard input.
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

export const DEADLINE_MS = 60000;
const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
	'--disable-background-networking', '--disable-component-update', '--disable-sync'];
export const given = JSON.parse(process.argv[2] ?? '{}');

export function check(truth, text) {
	if (!truth) {
		throw new Error(text);
	}
}

export function equal(got, wanted, what) {
	check(JSON.stringify(got) === JSON.stringify(wanted),
		`${what}: got ${JSON.stringify(got)}, wanted ${JSON.stringify(wanted)}`);
}

// Waits until the function returns something true, and gives it back.
export async function eventually(look, what, deadline = DEADLINE_MS) {
	const end = Date.now() + deadline;
	for (;;) {
		const found = await look();
		if (found) {
			return found;
		}
		check(Date.now() < end, `waited ${deadline} ms in vain for: ${what}`);
		await new Promise((resolve) => setTimeout(resolve, 25));
	}
}

const lines = createInterface({ input: process.stdin });
const answers = [];
lines.on('line', (line) => answers.shift()?.(line));

class Tester {
	constructor(browser) {
		this.browser = browser;
		this.complaints = [];
		this.expected = given.expected ? [new RegExp(given.expected)] : [];
		this.pages = [];
	}

	// The page in a profile of its own. options: of the browser context; more: {hash, search}
	async open(options = {}, { hash = '', search = '' } = {}) {
		const context = await this.browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
		await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: new URL(given.url).origin });
		context.setDefaultTimeout(DEADLINE_MS);
		const page = await context.newPage();
		page.on('console', (message) => {
			if (message.type() === 'error') {
				this.complaints.push(message.text());
			}
		});
		page.on('pageerror', (error) => this.complaints.push(error.stack));
		page.on('request', (request) => {
			if (new URL(request.url()).host !== new URL(given.url).host) {
				this.complaints.push(`asked another host: ${request.url()}`);
			}
		});
		await page.goto(given.url + search + hash);
		this.page = page;
		this.pages.push(page);
		return page;
	}

	// Complaints of the browser that the scenario provokes.
	expect(pattern) {
		this.expected.push(pattern);
	}

	problems() {
		return this.complaints.filter((text) => !this.expected.some((pattern) => pattern.test(text)));
	}

	async ask(word) {
		const answer = new Promise((resolve) => answers.push(resolve));
		console.log(`ask ${word}`);
		return answer;
	}

	// Until one sees it, or no more: a page on a busy machine may draw late.
	async seen(selector, page = this.page) {
		await page.locator(selector).first().waitFor({ state: 'visible' });
	}

	async unseen(selector, page = this.page) {
		await page.locator(selector).first().waitFor({ state: 'hidden' });
	}

	// Until the text of an element matches; the text.
	async reads(selector, pattern, page = this.page) {
		let text = '';
		await eventually(async () => {
			text = await page.textContent(selector);
			return pattern.test(text);
		}, `${pattern} in ${selector}`).catch((error) => {
			throw new Error(`${error.message}; it says: ${text}`);
		});
		return text;
	}

	state(wanted, page = this.page) {
		return page.waitForSelector(`#state[data-state="${wanted}"]`);
	}

	async fill(form, values, page = this.page) {
		for (const [name, value] of Object.entries(values)) {
			const field = page.locator(`${form} [name="${name}"]`);
			const type = await field.first().getAttribute('type');
			if (type === 'radio') {
				await page.locator(`${form} [name="${name}"][value="${value}"]`).check({ force: true });
			} else if (type === 'checkbox') {
				await field.setChecked(value);
			} else if (await field.evaluate((element) => element.tagName) === 'SELECT') {
				await field.selectOption(value);
			} else {
				await field.fill(value);
			}
		}
	}

	async connect(values = {}, page = this.page) {
		await this.fill('#connect-form', values, page);
		await page.click('#connect-button');
		await this.state('connected', page);
	}

	// Resolves when the broker has granted it.
	async subscribe(filter, values = {}, page = this.page) {
		await this.fill('#subscribe-form', { filter, ...values }, page);
		await page.click('#subscribe-form button[type=submit]');
		await eventually(async () => (await this.badge(filter, page)).startsWith('QoS'), `SUBACK of ${filter}`);
	}

	item(filter, page = this.page) {
		return page.locator('.subscription').filter({ has: page.locator(`.filter:text-is("${filter}")`) });
	}

	async badge(filter, page = this.page) {
		const item = this.item(filter, page);
		return await item.count() ? item.locator('.badge').textContent() : '';
	}

	async publish(topic, payload, values = {}, page = this.page) {
		await this.fill('#publish-form', { topic, payload, ...values }, page);
		await page.click('#publish-button');
	}

	row(topic, page = this.page) {
		return page.locator('.row-message:not([hidden])').filter({ has: page.locator(`.row-topic:text-is("${topic}")`) });
	}

	// The first message of the list with this topic, once it is there; its texts.
	async message(topic, page = this.page) {
		const row = this.row(topic, page).first();
		await row.waitFor();
		const text = (part) => row.locator(part).textContent();
		return { payload: await text('.row-payload'), badges: await text('.row-badges'), row };
	}
}

export async function run(scenario) {
	const flags = given.trust ? [...FLAGS, `--ignore-certificate-errors-spki-list=${given.trust}`] : FLAGS;
	const browser = await chromium.launch({ executablePath: given.chromium, args: flags });
	const t = new Tester(browser);
	let failure = null;
	try {
		await t.open();
		await scenario(t);
		const problems = t.problems();
		check(problems.length === 0, `the browser complained: ${problems.join('; ')}`);
	} catch (error) {
		failure = error;
		if (given.shots && t.page) {
			await t.page.screenshot({ path: `${given.shots}/${given.name}.png` }).catch(() => {});
		}
	}
	await browser.close();
	if (failure) {
		console.log(failure.stack);
		console.log(`the browser said: ${JSON.stringify(t.complaints.slice(0, 10))}`);
	}
	process.exit(failure ? 1 : 0);
}

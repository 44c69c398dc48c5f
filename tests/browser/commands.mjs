// SPDX-License-Identifier: Apache-2.0
// The commands that the page shows are run as they are, and do the same.
import { spawn, spawnSync } from 'node:child_process';
import { DEADLINE_MS, check, equal, given, run } from './lib.mjs';

const TOPIC = "cmd/it's here/$HOME";
const PAYLOAD = 'a "b" `c` $(d)\nsecond line \\ é';

async function copied(page, title) {
	await page.fill('#commands-host', '127.0.0.1');
	await page.fill('#commands-port', String(given.tcp));
	await page.click(`#commands [aria-label="Copy ${title}"]`);
	return page.evaluate(() => navigator.clipboard.readText());
}

run(async (t) => {
	const page = t.page;
	await t.connect();
	await t.subscribe('cmd/#', { qos: '1' });
	await page.click('[aria-label="cmd/# as a command"]');
	const sub = await copied(page, 'mosquitto_sub');
	check((await page.textContent('#commands-list')).includes('subscribeAsync'), 'MQTT.js as well');
	await page.keyboard.press('Escape');

	await t.fill('#publish-form', { topic: TOPIC, payload: PAYLOAD, qos: '1' });
	await page.click('#publish-commands');
	const pub = await copied(page, 'mosquitto_pub');
	await page.keyboard.press('Escape');
	const published = spawnSync('sh', ['-c', pub], { encoding: 'utf8', timeout: DEADLINE_MS });
	equal([published.status, published.stderr], [0, ''], `sh -c ${pub}`);
	const { row } = await t.message(TOPIC);
	await row.click();
	await page.click('#detail label:has-text("Text")');
	equal(await page.textContent('#detail pre'), PAYLOAD, 'the payload that mosquitto_pub sent');

	const subscribed = spawn('sh', ['-c', `${sub.trimEnd()} -C 1`], { stdio: ['ignore', 'pipe', 'inherit'] });
	let out = '';
	subscribed.stdout.on('data', (data) => {
		out += data;
	});
	const ended = new Promise((resolve) => subscribed.on('close', resolve));
	// Until mosquitto_sub has subscribed there is nobody to hear; so say it until it has.
	const timer = setInterval(() => page.click('#publish-button').catch(() => {}), 300);
	equal(await ended, 0, `sh -c ${sub}`);
	clearInterval(timer);
	equal(out, `${TOPIC} ${PAYLOAD}\n`, 'what mosquitto_sub printed');
});

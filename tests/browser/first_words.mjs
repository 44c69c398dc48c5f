// SPDX-License-Identifier: Apache-2.0
// Connect, subscribe, publish, see the message; both versions, each QoS, retained.
import { equal, run } from './lib.mjs';

async function round(t, version) {
	const page = await t.open();
	await t.connect({ version });
	await t.subscribe('words/#', { qos: '2' });
	for (const qos of ['0', '1', '2']) {
		await t.publish(`words/${version}/${qos}`, `payload ${qos}`, { qos });
		const { payload, badges } = await t.message(`words/${version}/${qos}`);
		equal(payload, `payload ${qos}`, 'payload');
		equal(badges, `QoS ${qos}`, 'badges');
	}
	await page.waitForFunction(() => /Received by the broker in/.test(document.getElementById('publish-result').textContent));
	await t.publish(`words/${version}/kept`, 'kept', { qos: '1', retain: true });
	await t.message(`words/${version}/kept`);
	await page.click('[aria-label="Unsubscribe from words/#"]');
	await t.subscribe(`words/${version}/kept`);
	await page.locator('.badge.warm').first().waitFor();
	await t.publish(`words/${version}/kept`, '', { qos: '0', retain: true });
	await page.waitForFunction(() => document.getElementById('publish-result').textContent === 'Sent');
	await page.click('#disconnect');
	await t.state('offline');
}

run(async (t) => {
	await round(t, '5');
	await round(t, '4');
});

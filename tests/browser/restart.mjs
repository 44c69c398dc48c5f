// SPDX-License-Identifier: Apache-2.0
// The broker stops and comes back: the page says so, connects again by itself, and the subscription
// is live again.
import { equal, run } from './lib.mjs';

run(async (t) => {
	t.expect(/WebSocket connection|ERR_CONNECTION_REFUSED|Failed to load resource|ERR_|net::/);
	const page = t.page;
	await t.connect();
	await t.subscribe('again/#', { qos: '1' });
	await t.publish('again/before', 'one');
	await t.message('again/before');
	await t.ask('stop');
	await t.state('waiting');
	await t.reads('#state', /Reconnecting in \d+ s/);
	await t.seen('#connect-notice');
	await page.waitForFunction(() => /attempt [2-9]|does not answer/.test(
		document.getElementById('state').textContent + document.getElementById('connect-notice').textContent));
	await t.publish('again/lost', 'x');
	await t.reads('#publish-problem', /Not connected/);
	await t.ask('start');
	await t.state('connected');
	await page.waitForFunction(() => document.querySelector('.subscription .badge').textContent === 'QoS 1');
	await t.publish('again/after', 'two');
	equal((await t.message('again/after')).payload, 'two', 'payload');
	equal(await t.row('again/before').count(), 1, 'what was seen before is still there');
});

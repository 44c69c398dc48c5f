// SPDX-License-Identifier: Apache-2.0
// Addresses that do not work: nobody there, a certificate that is not trusted, no address at all.
import { check, eventually, given, run } from './lib.mjs';

async function told(t, url, pattern) {
	const page = await t.open();
	await t.fill('#connect-form', { url });
	await page.click('#connect-button');
	await eventually(async () => await page.isVisible('#connect-notice') &&
		pattern.test(await page.textContent('#connect-notice')), `${pattern} for ${url}`);
	return page;
}

run(async (t) => {
	t.expect(/WebSocket connection|ERR_|net::/);
	const nobody = await told(t, `ws://127.0.0.1:${given.free}/mqtt`, /does not answer/);
	await t.seen('#connect-cancel', nobody);
	await nobody.click('#connect-cancel');
	await t.state('offline', nobody);
	const cert = await told(t, `wss://127.0.0.1:${given.untrusted}/mqtt`, /certificate not trusted/);
	check(await cert.getAttribute('#connect-notice a', 'href') === `https://127.0.0.1:${given.untrusted}/`, 'where to look');
	await told(t, 'nonsense', /Not an address/);
	await told(t, 'http://127.0.0.1:1/', /Not an address/);
	const linked = await t.open({}, { search: '?broker=wss://other.example/mqtt' });
	await t.reads('#connect-notice', /other\.example/, linked);
	const page = await t.open();
	await t.fill('#subscribe-form', { filter: 'a/#/b' });
	await page.click('#subscribe-form button[type=submit]');
	await t.reads('#subscribe-problem', /alone and last/);
	await t.publish('a/+', 'x');
	await t.reads('#publish-problem', /one topic/);
	check(await page.locator('.field:has([name="topic"]) + #publish-problem').count() === 1, 'below its field');
});

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
	check(await nobody.isVisible('#connect-cancel'), 'one can stop it');
	await nobody.click('#connect-cancel');
	await t.state('offline', nobody);
	const cert = await told(t, `wss://127.0.0.1:${given.untrusted}/mqtt`, /certificate not trusted/);
	check(await cert.getAttribute('#connect-notice a', 'href') === `https://127.0.0.1:${given.untrusted}/`, 'where to look');
	await told(t, 'nonsense', /Not an address/);
	await told(t, 'http://127.0.0.1:1/', /Not an address/);
	const linked = await t.open({}, { search: '?broker=wss://other.example/mqtt' });
	check(/other\.example/.test(await linked.textContent('#connect-notice')), 'an address from a link is pointed out');
	const page = await t.open();
	await t.fill('#subscribe-form', { filter: 'a/#/b' });
	await page.click('#subscribe-form button[type=submit]');
	check(/alone and last/.test(await page.textContent('#subscribe-problem')), 'a bad filter is explained');
	await t.publish('a/+', 'x');
	check(/one topic/.test(await page.textContent('#publish-problem')), 'a bad topic is explained');
	check(await page.locator('.field:has([name="topic"]) + #publish-problem').count() === 1, 'below its field');
});

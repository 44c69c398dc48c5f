// SPDX-License-Identifier: Apache-2.0
// Not authorised to subscribe or to publish: said beside the subscription and the message.
import { check, run } from './lib.mjs';

run(async (t) => {
	for (const version of ['5', '4']) {
		const page = await t.open();
		await t.connect({ version, username: 'alice', password: 'wonder' });
		await t.subscribe('open/#');
		await t.fill('#subscribe-form', { filter: 'secret/#' });
		await page.click('#subscribe-form button[type=submit]');
		await t.item('secret/#').locator('.badge.bad').waitFor();
		const told = await t.item('secret/#').locator('.problem').textContent();
		check(told.includes('acl_file') && told.includes('secret/#'), `told: ${told}`);
		if (version === '5') {
			await t.publish('secret/x', 'no', { qos: '1' });
			await page.waitForFunction(() => /may not write to secret\/x/.test(
				document.getElementById('publish-problem').textContent));
		}
		await t.publish('open/x', 'yes', { qos: '1' });
		await t.message('open/x');
		await t.unseen('#publish-problem');
	}
});

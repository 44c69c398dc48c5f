// SPDX-License-Identifier: Apache-2.0
// A wrong password, none, and the right one: explained beside the form.
import { check, run } from './lib.mjs';

run(async (t) => {
	for (const version of ['5', '4']) {
		const page = await t.open();
		await t.fill('#connect-form', { version, username: 'alice', password: 'wrong' });
		await page.click('#connect-button');
		await t.state('refused');
		const told = await t.reads('#connect-notice', /Wrong user name or password|Not authorised/);
		check(told.includes('alice'), `told: ${told}`);
		await t.reads('#state', /Wrong|Not authorised/);
		await t.fill('#connect-form', { username: '', password: '' });
		await page.click('#connect-button');
		await page.waitForFunction(() => /wants a user name/.test(document.getElementById('connect-notice').textContent));
		await t.connect({ username: 'alice', password: 'wonder' });
		await t.unseen('#connect-notice');
		const stored = await page.evaluate(() => JSON.stringify(localStorage));
		check(!stored.includes('wonder'), 'no password is kept in the browser');
	}
});

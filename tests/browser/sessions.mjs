// SPDX-License-Identifier: Apache-2.0
// A persistent session keeps what comes while the page is away; a will speaks for a page that is gone;
// a client id that comes twice is explained.
import { check, run } from './lib.mjs';

const KEPT = { clientId: 'console-kept', session: 'kept' };

async function resumes(t, version) {
	const one = await t.open();
	await t.connect({ ...KEPT, version, clientId: `${KEPT.clientId}-${version}` });
	await t.subscribe(`kept/${version}`, { qos: '1' });
	await one.click('#disconnect');
	await t.state('offline');
	const other = await t.open();
	await t.connect();
	await t.publish(`kept/${version}`, 'while away', { qos: '1' }, other);
	await other.waitForFunction(() => /Acknowledged/.test(document.getElementById('publish-result').textContent));
	await one.click('#connect-button');
	await t.state('connected', one);
	await t.reads('#connected-facts', /resumed/, one);
	await t.message(`kept/${version}`, one);
}

async function willSpeaks(t) {
	const watcher = await t.open();
	await t.connect();
	await t.subscribe('wills/#');
	const gone = await t.open();
	await gone.click('#connect-more summary');
	await t.fill('#connect-form', { hasWill: true });
	await t.connect({ willTopic: 'wills/page', willPayload: 'gone', willQos: '1', willDelay: '0' });
	await gone.context().close();
	const { payload } = await t.message('wills/page', watcher);
	check(payload === 'gone', 'the will');
}

async function takenOver(t) {
	const first = await t.open();
	await t.connect({ clientId: 'console-twice' });
	await t.open();
	await t.connect({ clientId: 'console-twice' });
	await t.state('refused', first);
	await t.reads('#connect-notice', /same client id/, first);
}

run(async (t) => {
	await resumes(t, '5');
	await resumes(t, '4');
	await willSpeaks(t);
	await takenOver(t);
});

// Runs @platformatic/kafka against a broker: node platformatic.js HOST:PORT. Exits
// with 0 if all went well.
import assert from 'node:assert/strict'
import zlib from 'node:zlib'
import { Admin, Consumer, MessagesStreamModes, Producer, ProduceAcks, stringDeserializers, stringSerializers } from '@platformatic/kafka'

// Node.js has this from version 22 on, which the client counts on.
Promise.withResolvers ??= () => {
  const made = {}
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }))
  return made
}

const base = { clientId: 'test', bootstrapBrokers: [process.argv[2]], autocreateTopics: true }
const count = 200
const messages = topic => Array.from({ length: count }, (_, i) => ({
  topic, key: `key ${i}`, value: `${topic} ${i}`, headers: new Map([['h', `header ${i}`]]), timestamp: BigInt(1_700_000_000_000 + i),
}))

async function send (topic, options = {}) {
  const producer = new Producer({ ...base, serializers: stringSerializers })
  await producer.send({ messages: messages(topic), ...options })
  await producer.close()
}

// read takes n messages of a topic as a member of a group, and commits.
async function read (topic, groupId, n) {
  const consumer = new Consumer({ ...base, groupId, deserializers: stringDeserializers, maxWaitTime: 500 })
  const stream = await consumer.consume({
    topics: [topic], autocommit: false, sessionTimeout: 10_000, heartbeatInterval: 500,
    mode: MessagesStreamModes.COMMITTED, fallbackMode: 'earliest',
  })
  const got = []
  for await (const message of stream) {
    got.push(message)
    if (got.length === n) {
      await message.commit()
      break
    }
  }
  await consumer.close(true)
  return got
}

function same (topic, got) {
  const want = messages(topic)
  assert.equal(got.length, count)
  got.forEach((m, i) => assert.deepEqual(
    [m.key, m.value, m.headers.get('h'), m.timestamp, m.offset],
    [want[i].key, want[i].value, `header ${i}`, want[i].timestamp, BigInt(i)]))
}

const codecs = ['none', 'gzip', 'snappy', 'lz4', ...('zstdCompressSync' in zlib ? ['zstd'] : [])] // zstd from Node.js 22.15 on
for (const compression of codecs) {
  for (const acks of [ProduceAcks.ALL, ProduceAcks.LEADER, ProduceAcks.NO_RESPONSE]) {
    const topic = `${compression}-${acks + 1}`
    await send(topic, { compression, acks })
    same(topic, await read(topic, `all-${topic}`, count))
  }
}

await send('idempotent', { idempotent: true })
const first = await read('idempotent', 'billing', 80)
same('idempotent', [...first, ...await read('idempotent', 'billing', count - 80)])

// Each asks for a producer id with id 0 and epoch 0: they must not be one producer.
await Promise.all([1, 2, 3].map(() => send('crowd', { idempotent: true })))
assert.equal((await read('crowd', 'crowd', 3 * count)).length, 3 * count)

// Who commits without the leader epoch says 0.
const committer = new Consumer({ ...base, groupId: 'epoch-0', deserializers: stringDeserializers })
await committer.joinGroup({ sessionTimeout: 10_000, heartbeatInterval: 500 })
await committer.commit({ offsets: [{ topic: 'idempotent', partition: 0, offset: 7n, leaderEpoch: 0 }] })
assert.equal((await committer.listCommittedOffsets({ topics: [{ topic: 'idempotent', partitions: [0] }] })).get('idempotent')[0], 7n)
await committer.close(true)

const admin = new Admin(base)
await admin.createTopics({ topics: ['made'], partitions: 3, replicas: 1 })
assert((await admin.listTopics()).includes('made'))
assert.equal((await admin.metadata({ topics: ['made'] })).topics.get('made').partitionsCount, 3)
assert((await admin.listGroups()).has('billing'))
await admin.deleteTopics({ topics: ['made'] })
assert(!(await admin.listTopics()).includes('made'))
await admin.close()

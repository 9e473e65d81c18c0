import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import dynalite from 'dynalite'

const CREDENTIALS = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'not a secret' }

type Attributes = Record<string, Record<string, unknown>>

/**
 * A DynamoDB in this process with one empty table for branch keys: dynalite, and in front of it what dynalite lacks,
 * TransactWriteItems of conditional puts.
 */
export class LocalDynamoDB {
  /** Tries once. Closed with the server. */
  readonly client: DynamoDBClient
  /** How many requests of each operation came in. */
  readonly calls = new Map<string, number>()
  readonly #database: Server
  readonly #front: Server
  #writing: Promise<unknown> = Promise.resolve()
  /** Changes the next items that are read, as damage or an attacker would. */
  tamper: ((item: Attributes) => Attributes | undefined) | undefined

  static async start(tableName: string): Promise<LocalDynamoDB> {
    const database = dynalite({ createTableMs: 0 })
    await listen(database)
    const local = new LocalDynamoDB(database)
    await listen(local.#front)
    const key = ['branch-key-id', 'type']
    await local.#forward('CreateTable', {
      TableName: tableName,
      AttributeDefinitions: key.map((AttributeName) => ({ AttributeName, AttributeType: 'S' })),
      KeySchema: key.map((AttributeName, i) => ({ AttributeName, KeyType: i === 0 ? 'HASH' : 'RANGE' })),
      BillingMode: 'PAY_PER_REQUEST',
    })
    while ((await local.#forward('DescribeTable', { TableName: tableName })).body.Table?.TableStatus !== 'ACTIVE') {
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
    return local
  }

  private constructor(database: Server) {
    this.#database = database
    this.#front = createServer(async (request, response) => {
      const chunks: Buffer[] = []
      for await (const chunk of request) chunks.push(chunk as Buffer)
      const operation = String(request.headers['x-amz-target']).split('.')[1]!
      this.calls.set(operation, (this.calls.get(operation) ?? 0) + 1)
      const { status, body } = await this.#answer(operation, JSON.parse(Buffer.concat(chunks).toString()) as object)
      response.writeHead(status, { 'content-type': 'application/x-amz-json-1.0' }).end(JSON.stringify(body))
    })
    this.client = new DynamoDBClient({
      endpoint: async () => {
        const { port } = this.#front.address() as AddressInfo
        return { protocol: 'http:', hostname: '127.0.0.1', port, path: '/' }
      },
      region: 'us-east-1',
      credentials: CREDENTIALS,
      maxAttempts: 1,
    })
  }

  async close(): Promise<void> {
    this.client.destroy()
    for (const server of [this.#front, this.#database]) {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    }
  }

  async #answer(operation: string, input: object): Promise<Answer> {
    if (operation === 'TransactWriteItems') {
      this.#writing = this.#writing.then(() => this.#transact(input as Transaction))
      return (await this.#writing) as Answer
    }
    const answer = await this.#forward(operation, input)
    if (this.tamper && answer.body.Item) answer.body.Item = this.tamper(answer.body.Item)
    return answer
  }

  /** One conditional put after the other; where one fails, what was written goes back to what it was. */
  async #transact({ TransactItems }: Transaction): Promise<Answer> {
    const undo: (() => Promise<Answer>)[] = []
    for (const [i, { Put }] of TransactItems.entries()) {
      const Key = { 'branch-key-id': Put.Item['branch-key-id'], type: Put.Item.type }
      const { body: before } = await this.#forward('GetItem', { TableName: Put.TableName, Key })
      const answer = await this.#forward('PutItem', Put)
      if (answer.status !== 200) {
        for (const step of undo.reverse()) await step()
        const failed = { Code: 'ConditionalCheckFailed', Message: 'The conditional request failed', Item: Put.Item }
        const reasons = TransactItems.map((_, j) => (i === j ? failed : { Code: 'None' }))
        const message = `Transaction cancelled, please refer cancellation reasons for specific reasons [${reasons.map(({ Code }) => Code).join(', ')}]`
        const __type = 'com.amazonaws.dynamodb.v20120810#TransactionCanceledException'
        return { status: 400, body: { __type, message, CancellationReasons: reasons } }
      }
      const { TableName } = Put
      undo.push(() =>
        before.Item
          ? this.#forward('PutItem', { TableName, Item: before.Item })
          : this.#forward('DeleteItem', { TableName, Key }),
      )
    }
    return { status: 200, body: {} }
  }

  async #forward(operation: string, input: object): Promise<Answer> {
    const response = await fetch(endpointOf(this.#database), {
      method: 'POST',
      headers: {
        'content-type': 'application/x-amz-json-1.0',
        'x-amz-target': `DynamoDB_20120810.${operation}`,
        'x-amz-date': '20260101T000000Z',
        authorization:
          'AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0',
      },
      body: JSON.stringify(input),
    })
    return { status: response.status, body: (await response.json()) as Answer['body'] }
  }
}

interface Transaction {
  TransactItems: { Put: Put }[]
}

interface Put {
  TableName: string
  Item: Attributes
}

interface Answer {
  status: number
  body: { Item?: Attributes | undefined; Table?: { TableStatus: string }; [key: string]: unknown }
}

async function listen(server: Server): Promise<void> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
}

function endpointOf(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

// Asks with node-postgres in each of its ways; prints one JSON object, name to answer.
// What the answers must be is in test_node_postgres.py.

const { Client, Pool } = require("pg");
const Cursor = require("pg-cursor");

const FIRST = "SELECT customer_id, PREDICT(churn, *) AS risk FROM customers WHERE customer_id <= $1 ORDER BY 1";
const GUESS = "SELECT PREDICT(churn, $1, $2, $3) AS risk";
const WRONG = "SELECT PREDICT(chrun, *) FROM customers";

async function failure(asking) {
  try {
    await asking;
  } catch (error) {
    return [error.constructor.name, error.code, error.hint, error.position];
  }
  return null;
}

async function portions(client, count, size) {
  const cursor = client.query(new Cursor(FIRST, [count]));
  const read = [];
  for (let rows = await cursor.read(size); rows.length; rows = await cursor.read(size)) {
    read.push(rows.map((row) => [row.customer_id, row.risk]));
  }
  await cursor.close();
  return read;
}

const checks = {
  parameters: async (client) =>
    (await client.query({ text: FIRST, values: [5], rowMode: "array" })).rows,

  plain: async (client) =>
    (await client.query({ text: FIRST.replace("$1", "5"), rowMode: "array" })).rows,

  objects: async (client) => (await client.query(FIRST, [1])).rows,

  fields: async (client) =>
    (await client.query(FIRST, [1])).fields.map((field) => [field.name, field.dataTypeID]),

  guess: async (client) => (await client.query(GUESS, [6, 79.99, "One year"])).rows[0].risk,

  named: async (client) => {
    const risks = [];
    for (let months = 0; months < 10; months++) {
      const query = { name: "guess", text: GUESS, values: [months, 50, "Two year"] };
      risks.push((await client.query(query)).rows[0].risk);
    }
    return risks;
  },

  several: async (client) => {
    const text = `BEGIN; ${FIRST.replace("$1", "2")}; SELECT 3 AS three; COMMIT`;
    const results = await client.query({ text, rowMode: "array" });
    return results.map((result) => [result.command, result.rows]);
  },

  cursor: (client) => portions(client, 7, 3),

  cursor_left_early: async (client) => {
    const cursor = client.query(new Cursor(FIRST, [7000]));
    const rows = await cursor.read(2);
    await cursor.close();
    return rows.map((row) => [row.customer_id, row.risk]);
  },

  error: (client) => failure(client.query(WRONG)),

  error_with_parameters: (client) =>
    failure(client.query(`${WRONG} WHERE customer_id = $1`, [1])),

  error_of_a_named_query: (client) => failure(client.query({ name: "wrong", text: WRONG })),

  model_as_a_parameter: (client) =>
    failure(client.query("SELECT PREDICT($1, 6, 79.99, 'One year')", ["churn"])),

  savepoint: async (client) => {
    await client.query("BEGIN; SAVEPOINT before");
    const failed = await failure(client.query(WRONG));
    await client.query("ROLLBACK TO before");
    const { rows } = await client.query({ text: FIRST, values: [1], rowMode: "array" });
    await client.query("COMMIT");
    return [failed[1], rows];
  },

  create_model: async (client) => {
    const heard = [];
    client.on("notice", (notice) => heard.push(notice.message));
    const { command } = await client.query(
      "CREATE MODEL by_node USING logistic_regression(l2: 0.5)" +
        " AS SELECT tenure_months, churned AS target FROM customers",
    );
    await client.query("DROP MODEL by_node");
    return [command, heard];
  },

  where: async (client) =>
    (
      await client.query(
        "SELECT count(*)::int AS risky FROM customers" +
          " WHERE PREDICT(churn, tenure_months, monthly_charges, contract_type) > $1",
        [0.5],
      )
    ).rows[0].risky,

  binary_as_without: async (client) => {
    const plain = "SELECT 0.25::float8 AS risk, $1::int AS number";
    const scored = "SELECT PREDICT(quarter, 1) AS risk, $1::int AS number";
    await client.query(
      "CREATE MODEL quarter USING linear_regression(test_size: 0)" +
        " AS SELECT i AS a, 0.25::float8 AS target FROM generate_series(1, 10) AS i",
    );
    const answers = [];
    for (const text of [plain, scored]) {
      answers.push((await client.query({ text, values: [1], binary: true })).rows);
    }
    await client.query("DROP MODEL quarter");
    return answers;
  },
};

async function main() {
  const answers = {};
  for (const [name, check] of Object.entries(checks)) {
    const client = new Client();
    await client.connect();
    answers[name] = await check(client);
    await client.end();
  }
  const pool = new Pool({ max: 3 });
  const asked = Array.from({ length: 30 }, (_, last) =>
    pool.query({ text: FIRST, values: [last], rowMode: "array" }),
  );
  answers.pool = (await Promise.all(asked)).map((result) => result.rows);
  await pool.end();
  console.log(JSON.stringify(answers));
}

main();

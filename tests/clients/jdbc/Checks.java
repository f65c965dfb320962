// Asks with pgjdbc in each of its ways; prints a line for each answer: mode, name, answer, by tabs.
// What the answers must be is in test_jdbc.py.

import java.io.StringWriter;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.postgresql.PGConnection;
import org.postgresql.PGStatement;

class Checks {
    static final String FIRST =
        "SELECT customer_id, PREDICT(churn, *) AS risk FROM customers WHERE customer_id <= ? ORDER BY 1";
    static final String GUESS = "SELECT PREDICT(churn, ?, ?, ?)";
    static final String WRONG = "SELECT PREDICT(chrun, *) FROM customers";
    static final Map<String, String> MODES = Map.of(
        "default", "",
        "simple", "?preferQueryMode=simple",
        "extendedForPrepared", "?preferQueryMode=extendedForPrepared",
        "extendedCacheEverything", "?preferQueryMode=extendedCacheEverything",
        "prepared at once", "?prepareThreshold=1",
        "binary at once", "?prepareThreshold=-1",
        "never binary", "?binaryTransfer=false");

    interface Check {
        String ask(Connection connection) throws Exception;
    }

    static final Map<String, Check> CHECKS = new LinkedHashMap<>();

    static {
        CHECKS.put("statement", connection -> {
            try (var statement = connection.createStatement()) {
                return table(statement.executeQuery(FIRST.replace("?", "5")));
            }
        });
        CHECKS.put("prepared ten times", connection -> {
            var answers = new ArrayList<String>();
            try (var statement = connection.prepareStatement(FIRST)) {
                for (var last = 0; last < 10; last++) {
                    statement.setInt(1, last);
                    answers.add(table(statement.executeQuery()));
                }
                answers.add("" + statement.unwrap(PGStatement.class).isUseServerPrepare());
            }
            return String.join("/", answers);
        });
        CHECKS.put("guesses", connection -> {
            var answers = new ArrayList<String>();
            try (var statement = connection.prepareStatement(GUESS)) {
                for (var months = 0; months < 10; months++) {
                    statement.setInt(1, months);
                    statement.setDouble(2, 50.0);
                    statement.setString(3, "Two year");
                    var rows = statement.executeQuery();
                    rows.next();
                    answers.add("" + rows.getDouble(1));
                }
            }
            return String.join(";", answers);
        });
        CHECKS.put("fetch size", connection -> {
            connection.setAutoCommit(false);
            try (var statement = connection.prepareStatement(FIRST)) {
                statement.setInt(1, 7043);
                statement.setFetchSize(500);
                var sum = 0.0;
                var count = 0;
                var rows = statement.executeQuery();
                for (; rows.next(); count++) {
                    sum += rows.getDouble("risk");
                    if (count == 1000)
                        // A statement between two portions.
                        first(connection);
                }
                return count + ";" + sum;
            } finally {
                connection.commit();
                connection.setAutoCommit(true);
            }
        });
        CHECKS.put("columns", connection -> {
            try (var statement = connection.prepareStatement(FIRST)) {
                var columns = statement.getMetaData();
                return columns.getColumnLabel(2) + ";" + columns.getColumnTypeName(2) + ";"
                    + columns.getColumnClassName(2);
            }
        });
        CHECKS.put("parameters", connection -> {
            try (var statement = connection.prepareStatement(GUESS)) {
                var parameters = statement.getParameterMetaData();
                var names = new ArrayList<String>();
                for (var i = 1; i <= parameters.getParameterCount(); i++)
                    names.add(parameters.getParameterTypeName(i));
                return String.join(";", names);
            }
        });
        CHECKS.put("scrollable", connection -> {
            try (var statement = connection.createStatement(
                    ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_READ_ONLY)) {
                var rows = statement.executeQuery(FIRST.replace("?", "5"));
                rows.last();
                var last = rows.getInt(1) + " " + rows.getDouble(2);
                rows.first();
                return rows.getInt(1) + " " + rows.getDouble(2) + ";" + last;
            }
        });
        CHECKS.put("updatable", connection -> {
            try (var statement = connection.createStatement(
                    ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_UPDATABLE)) {
                var rows = statement.executeQuery(
                    "SELECT customer_id, senior_citizen, PREDICT(churn, *) AS risk"
                    + " FROM customers WHERE customer_id = 1");
                rows.next();
                rows.updateBoolean(2, rows.getBoolean(2));
                rows.updateRow();
                return rows.getInt(1) + " " + rows.getDouble(3);
            }
        });
        CHECKS.put("several statements", connection -> {
            try (var statement = connection.createStatement()) {
                statement.execute(FIRST.replace("?", "2") + "; " + FIRST.replace("?", "3"));
                var two = table(statement.getResultSet());
                statement.getMoreResults();
                return two + "/" + table(statement.getResultSet());
            }
        });
        CHECKS.put("array beside", connection -> {
            try (var statement = connection.createStatement()) {
                var rows = statement.executeQuery(
                    "SELECT ARRAY[1, 2], PREDICT(churn, *) FROM customers WHERE customer_id = 1");
                rows.next();
                var array = (Object[]) rows.getArray(1).getArray();
                return Arrays.toString(array) + " " + rows.getObject(2, Double.class);
            }
        });
        CHECKS.put("imputed", connection -> {
            try (var statement = connection.prepareStatement(
                    "SELECT PREDICT('churn:1.0', tenure_months => ?, contract_type => ?)")) {
                statement.setInt(1, 6);
                statement.setString(2, "One year");
                statement.executeQuery();
                return statement.getWarnings().getMessage();
            }
        });
        CHECKS.put("create model", connection -> {
            try (var statement = connection.createStatement()) {
                statement.execute("CREATE OR REPLACE MODEL by_jdbc USING logistic_regression(l2: 0.5)"
                    + " AS SELECT tenure_months, churned AS target FROM customers");
                return statement.getUpdateCount() + ";" + statement.getWarnings().getMessage();
            }
        });
        CHECKS.put("batch", connection -> {
            try (var statement = connection.createStatement()) {
                statement.execute("CREATE TEMP TABLE asked (LIKE customers)");
                statement.execute("INSERT INTO asked SELECT * FROM customers WHERE customer_id < 4");
            }
            try (var statement = connection.prepareStatement(
                    "UPDATE asked SET tenure_months = ? WHERE customer_id = ?")) {
                for (var customer = 1; customer < 4; customer++) {
                    statement.setInt(1, customer * 10);
                    statement.setInt(2, customer);
                    statement.addBatch();
                }
                var counts = Arrays.toString(statement.executeBatch());
                try (var scores = connection.createStatement()) {
                    return counts + ";" + table(scores.executeQuery(
                        "SELECT tenure_months, PREDICT(churn, *) FROM asked ORDER BY 1"));
                }
            }
        });
        CHECKS.put("copy", connection -> {
            var copied = new StringWriter();
            var copying = connection.unwrap(PGConnection.class).getCopyAPI();
            return "" + copying.copyOut("COPY (SELECT customer_id FROM customers) TO STDOUT", copied);
        });
        CHECKS.put("catalogue", connection -> {
            var names = new ArrayList<String>();
            try (var columns = connection.getMetaData().getColumns(null, "public", "customers", null)) {
                while (columns.next()) names.add(columns.getString("COLUMN_NAME"));
            }
            return String.join(";", names);
        });
        CHECKS.put("where", connection -> {
            try (var statement = connection.prepareStatement("SELECT count(*) FROM customers"
                    + " WHERE PREDICT(churn, tenure_months, monthly_charges, contract_type) > ?")) {
                var answers = new ArrayList<String>();
                for (var i = 0; i < 10; i++) {
                    statement.setDouble(1, 0.5);
                    var rows = statement.executeQuery();
                    rows.next();
                    answers.add("" + rows.getInt(1));
                }
                return String.join(";", answers);
            }
        });
        CHECKS.put("copy of scores", connection -> {
            var copied = new StringWriter();
            var copying = connection.unwrap(PGConnection.class).getCopyAPI();
            copying.copyOut("COPY (" + FIRST.replace("?", "5") + ") TO STDOUT (DELIMITER ' ')", copied);
            return copied.toString().strip().replace("\n", ";");
        });
        CHECKS.put("error", connection -> {
            try (var statement = connection.createStatement()) {
                return failure(() -> statement.executeQuery(WRONG)) + ";" + first(connection);
            }
        });
        CHECKS.put("error of a prepared statement", connection -> {
            try (var statement = connection.prepareStatement(WRONG + " WHERE customer_id = ?")) {
                statement.setInt(1, 1);
                return failure(statement::executeQuery) + ";" + first(connection);
            }
        });
        CHECKS.put("savepoint", connection -> {
            connection.setAutoCommit(false);
            try (var statement = connection.createStatement()) {
                var before = connection.setSavepoint();
                var failed = failure(() -> statement.executeQuery(WRONG));
                connection.rollback(before);
                return failed + ";" + first(connection);
            } finally {
                connection.rollback();
                connection.setAutoCommit(true);
            }
        });
        CHECKS.put("model as a parameter", connection -> {
            try (var statement = connection.prepareStatement("SELECT PREDICT(?, 6, 79.99, 'x')")) {
                statement.setString(1, "churn");
                return failure(statement::executeQuery);
            }
        });
    }

    interface Asking {
        Object ask() throws SQLException;
    }

    static String failure(Asking asking) {
        try {
            asking.ask();
        } catch (SQLException error) {
            return error.getClass().getSimpleName() + " " + error.getSQLState();
        }
        return "none";
    }

    static String first(Connection connection) throws SQLException {
        try (var statement = connection.createStatement()) {
            return table(statement.executeQuery(FIRST.replace("?", "1")));
        }
    }

    static String table(ResultSet rows) throws SQLException {
        List<String> lines = new ArrayList<>();
        while (rows.next()) lines.add(rows.getInt(1) + " " + rows.getDouble(2));
        return String.join(";", lines);
    }

    public static void main(String[] arguments) throws Exception {
        var environment = System.getenv();
        var url = "jdbc:postgresql://" + environment.get("PGHOST") + ":" + environment.get("PGPORT") + "/"
            + environment.get("PGDATABASE");
        for (var mode : MODES.entrySet()) {
            try (var connection = DriverManager.getConnection(url + mode.getValue(),
                    environment.get("PGUSER"), environment.get("PGPASSWORD"))) {
                for (var check : CHECKS.entrySet()) {
                    String answer;
                    try {
                        answer = check.getValue().ask(connection);
                    } catch (Exception error) {
                        answer = "FAILED " + error.toString().replaceAll("\\s+", " ");
                    }
                    System.out.println(mode.getKey() + "\t" + check.getKey() + "\t" + answer);
                }
            }
        }
    }
}

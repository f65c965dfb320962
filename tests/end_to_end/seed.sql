-- Train linear regression model
CREATE MODEL housing_price_model
USING linear_regression
AS SELECT
    bedrooms,
    bathrooms,
    sqft,
    price AS target
FROM housing_data
WHERE city = 'San Francisco';

-- Train polynomial regression (degree 2)
CREATE MODEL sales_forecast
USING polynomial_regression(degree: 2)
AS SELECT
    month,
    marketing_spend,
    revenue AS target
FROM sales_history;

-- Train binary classifier
CREATE MODEL churn_prediction
USING logistic_regression
AS SELECT
    tenure_months,
    monthly_charges,
    total_charges,
    num_tech_tickets,
    churned AS target  -- 0 or 1
FROM customers;

-- Train decision tree classifier
CREATE MODEL credit_risk
USING decision_tree(max_depth: 10, min_samples_split: 20)
AS SELECT
    credit_score,
    income,
    debt_ratio,
    default AS target
FROM loan_applications;

-- Train random forest ensemble
CREATE MODEL fraud_detector
USING random_forest(n_trees: 100, max_depth: 15)
AS SELECT
    transaction_amount,
    merchant_category,
    time_of_day,
    distance_from_home,
    is_fraud AS target
FROM transactions;

-- Customer segmentation
CREATE MODEL customer_segments
USING kmeans(k: 5, max_iterations: 100)
AS SELECT
    annual_income,
    spending_score,
    age
FROM customers;

-- Anomaly detection
CREATE MODEL anomaly_clusters
USING dbscan(eps: 0.5, min_samples: 5)
AS SELECT
    cpu_usage,
    memory_usage,
    network_traffic
FROM system_metrics;

-- Train neural network
CREATE MODEL image_classifier
USING neural_network(
    layers: [784, 128, 64, 10],
    activation: 'relu',
    optimizer: 'adam',
    learning_rate: 0.001,
    epochs: 50,
    batch_size: 32
)
AS SELECT
    pixel_values,
    digit_label AS target
FROM mnist_digits;

-- Score new data using trained model
SELECT
    customer_id,
    PREDICT(churn_prediction, tenure_months, monthly_charges) AS churn_probability
FROM customers
WHERE tenure_months < 12;

-- Score entire table
INSERT INTO predictions
SELECT
    customer_id,
    PREDICT(churn_prediction, *) AS prediction,
    CURRENT_TIMESTAMP AS scored_at
FROM customers;

-- Automatic feature engineering
CREATE MODEL advanced_churn
USING automl(
    target: 'churned',
    feature_engineering: true,
    max_features: 50
)
AS SELECT * FROM customers;

-- Define custom feature
CREATE FUNCTION customer_lifetime_value(
    monthly_charges NUMERIC,
    tenure_months INTEGER
) RETURNS NUMERIC AS $$
    monthly_charges * tenure_months * 0.9  -- 10% discount factor
$$;

-- Use in model training
CREATE MODEL ltv_prediction
USING linear_regression
AS SELECT
    customer_lifetime_value(monthly_charges, tenure_months) AS ltv,
    churn_risk,
    revenue AS target
FROM customers;

-- List model versions
SELECT model_name, version, created_at, accuracy
FROM ml_models
WHERE model_name = 'churn_prediction'
ORDER BY version DESC;

-- Deploy two model versions
CREATE MODEL_DEPLOYMENT churn_ab_test
WITH (
    model_a: 'churn_prediction:2.0',
    model_b: 'churn_prediction:3.0',
    traffic_split: 0.5  -- 50/50 split
);

-- Monitor performance
SELECT
    model_version,
    COUNT(*) AS predictions,
    AVG(CASE WHEN actual = predicted THEN 1.0 ELSE 0.0 END) AS accuracy
FROM prediction_log
WHERE deployment = 'churn_ab_test'
GROUP BY model_version;

-- Model performance over time
SELECT
    DATE_TRUNC('day', scored_at) AS date,
    AVG(prediction) AS avg_prediction,
    AVG(actual) AS avg_actual,
    AVG(ABS(prediction - actual)) AS mae
FROM prediction_log
WHERE model_name = 'churn_prediction'
GROUP BY date
ORDER BY date;

-- Try multiple algorithms and select best
CREATE MODEL best_churn_model
USING automl(
    target: 'churned',
    metric: 'f1_score',
    algorithms: ['logistic_regression', 'decision_tree', 'random_forest', 'neural_network'],
    cross_validation: 5,
    max_time_minutes: 60
)
AS SELECT * FROM customers;

-- Register Python function
CREATE FUNCTION custom_ml_model(features JSONB)
RETURNS NUMERIC
LANGUAGE python AS $$
    import numpy as np
    from sklearn.ensemble import RandomForestClassifier

    # Load pre-trained scikit-learn model
    model = load_model('my_sklearn_model.pkl')

    # Convert JSON features to numpy array
    X = np.array(list(features.values())).reshape(1, -1)

    # Predict
    return float(model.predict_proba(X)[0, 1])
$$;

-- Use in queries
SELECT
    customer_id,
    custom_ml_model(
        json_build_object(
            'age', age,
            'income', income,
            'score', credit_score
        )
    ) AS prediction
FROM customers;

-- Use R for statistical modeling
CREATE FUNCTION r_linear_model(X MATRIX, y VECTOR)
RETURNS MODEL
LANGUAGE r AS $$
    # Train linear model in R
    model <- lm(y ~ X)
    return(model)
$$;

-- Parallel training on 16 cores
CREATE MODEL large_scale_model
USING neural_network(
    layers: [1000, 500, 250, 10],
    parallel_workers: 16,
    batch_size: 1024
)
AS SELECT * FROM big_dataset;

CREATE MODEL churn_model
USING random_forest
AS SELECT
    tenure_months,
    monthly_charges,
    contract_type,
    payment_method,
    churned AS target
FROM customers;

-- Identify high-risk customers
SELECT customer_id, churn_probability
FROM (
    SELECT
        customer_id,
        PREDICT(churn_model, *) AS churn_probability
    FROM active_customers
) WHERE churn_probability > 0.7
ORDER BY churn_probability DESC;

CREATE MODEL fraud_detector
USING neural_network
AS SELECT
    transaction_amount,
    merchant_category,
    time_of_day,
    location_distance,
    is_fraud AS target
FROM transactions;

-- Real-time fraud scoring
SELECT
    transaction_id,
    PREDICT(fraud_detector, *) AS fraud_score,
    CASE
        WHEN fraud_score > 0.9 THEN 'BLOCK'
        WHEN fraud_score > 0.5 THEN 'REVIEW'
        ELSE 'APPROVE'
    END AS action
FROM incoming_transactions;

CREATE MODEL demand_forecast
USING polynomial_regression(degree: 3)
AS SELECT
    month,
    seasonality_factor,
    marketing_spend,
    units_sold AS target
FROM sales_history;

-- Forecast next 6 months
SELECT
    future_month,
    PREDICT(demand_forecast, future_month, seasonality, planned_marketing) AS forecasted_demand
FROM future_periods
WHERE future_month BETWEEN '2025-01' AND '2025-06';

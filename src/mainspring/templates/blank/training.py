"""Any estimator of scikit-learn, XGBoost or LightGBM will do: return it fitted."""

from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder


def train(data, params):
    """`data.X` is a DataFrame of the inputs, `data.y` 0 or 1; `params` is from mainspring.yaml."""
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), data.categoricals), remainder="passthrough"
    )
    return make_pipeline(columns, LogisticRegression(max_iter=500)).fit(data.X, data.y)

"""Gradient-boosted trees on the flights."""

from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from xgboost import XGBClassifier


def train(data, params):
    """Fit on `data.X` (a DataFrame in column order) and `data.y` (0 or 1)."""
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    model = make_pipeline(
        make_column_transformer((encode, data.categoricals), remainder="passthrough"),
        XGBClassifier(
            n_estimators=params["trees"],
            max_depth=params["depth"],
            learning_rate=params["learning_rate"],
            subsample=0.8,
            colsample_bytree=0.8,
            min_child_weight=20,
            tree_method="hist",
            device=params.get("device", "cpu"),
            random_state=params["seed"],
        ),
    )
    return model.fit(data.X, data.y)

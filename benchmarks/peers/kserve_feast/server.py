"""KServe's SDK server with Feast's SDK in its request path. `server.py MODEL.ubj PORT FEAST_REPO`."""

import sys
import uuid

import numpy as np
import xgboost
from feast import FeatureStore
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer

VIEWS = {"profile": [f"p{place}" for place in range(5)], "recent": [f"r{place}" for place in range(5)]}


class Trees(Model):
    """Entity keys in, features from the online store, one booster's answer out."""

    def __init__(self, name: str, path: str, repo: str) -> None:
        super().__init__(name)
        self.store = FeatureStore(repo_path=repo)
        self.features = [f"{view}:{one}" for view, names in VIEWS.items() for one in names]
        self.columns = [one for names in VIEWS.values() for one in names]
        self.booster = xgboost.Booster({"nthread": 1})
        self.booster.load_model(path)
        self.ready = True

    def predict(self, payload: InferRequest, headers=None, response_headers=None) -> InferResponse:
        """One input: the users."""
        users = [one.decode() if isinstance(one, bytes) else one for one in payload.inputs[0].as_numpy()]
        found = self.store.get_online_features(self.features, [{"user": one} for one in users]).to_dict()
        rows = np.array([found[name] for name in self.columns], np.float32).T
        answers = self.booster.inplace_predict(rows).astype(np.float64).tolist()
        output = InferOutput("probability", [len(answers)], "FP64", data=answers)
        known = payload.id or str(uuid.uuid4())
        return InferResponse(response_id=known, model_name=self.name, infer_outputs=[output])


if __name__ == "__main__":
    ModelServer(http_port=int(sys.argv[2]), enable_grpc=False, workers=1, access_log_format=None).start(
        [Trees("trees", sys.argv[1], sys.argv[3])]
    )

"""KServe's SDK server with one XGBoost model, as its documentation has it. `server.py MODEL.ubj PORT`."""

import sys
import uuid

import numpy as np
import xgboost
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer


class Trees(Model):
    """One booster behind the Open Inference Protocol."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        self.booster = xgboost.Booster({"nthread": 1})
        self.booster.load_model(path)
        self.ready = True

    def predict(self, payload: InferRequest, headers=None, response_headers=None) -> InferResponse:
        """Either one tensor [rows, columns], or a tensor for each column, in the order in which they come."""
        given = [one.as_numpy().astype(np.float32) for one in payload.inputs]
        found = self.booster.inplace_predict(given[0] if given[0].ndim == 2 else np.stack(given, axis=1))
        output = InferOutput("probability", [len(found)], "FP64", data=found.astype(np.float64).tolist())
        return InferResponse(response_id=payload.id or str(uuid.uuid4()), model_name=self.name, infer_outputs=[output])


if __name__ == "__main__":
    ModelServer(http_port=int(sys.argv[2]), enable_grpc=False, workers=1, access_log_format=None).start(
        [Trees("trees", sys.argv[1])]
    )

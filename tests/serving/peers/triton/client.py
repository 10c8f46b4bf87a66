"""Triton's own clients against a predictor; runs in an environment of theirs and prints what they were answered."""

import json
import sys

import numpy as np
import tritonclient.grpc
import tritonclient.http

TOWNS, WINDS = np.array(["Ulm", "Bonn"], object), np.array([7.5, 2.5])


def answered(module, address):
    client = module.InferenceServerClient(address)
    town, wind = module.InferInput("town", [2], "BYTES"), module.InferInput("wind", [2], "FP64")
    town.set_data_from_numpy(TOWNS)
    wind.set_data_from_numpy(WINDS)
    wanted = [module.InferRequestedOutput("probability")]
    found = [client.infer("rain", [town, wind], outputs=one).as_numpy("probability").tolist() for one in (None, wanted)]
    found.append([client.is_server_live(), client.is_server_ready(), client.is_model_ready("rain", "1")])
    try:
        client.infer("rain", [wind])
    except module.InferenceServerException as error:
        found.append(str(error))
    client.close()
    return found


if __name__ == "__main__":
    sides = ((tritonclient.http, sys.argv[1].removeprefix("http://")), (tritonclient.grpc, sys.argv[2]))
    print(json.dumps([answered(module, address) for module, address in sides]))

"""Makes model bundles for dermald; it knows nothing of sockets or of the daemon's code.

The rooms, lowest first:

- `skin`: skin, light, hair and lens of a drawn photograph.
- `lesions`: draws labelled pictures with known lesion masks on that skin.
- `photo`: what happens to a picture between the camera and the tensor.
- `manifest`: the manifest of a bundle, written and read.
- `gradcam`: Grad-CAM as forward nodes of an ONNX graph.
- `graph`: the demonstration network as an ONNX file, from its trained weights.
- `training`: the network in Keras and how it is trained.
- `evaluate`: accuracy and localisation of a bundle, through ONNX Runtime.
- `pictures`, `demo`: the subcommands; `cli`: their dispatch.

Only `training` imports TensorFlow, only `gradcam` and `graph` import onnx, and only `evaluate`
imports ONNX Runtime. Everything else runs with numpy and Pillow.
"""

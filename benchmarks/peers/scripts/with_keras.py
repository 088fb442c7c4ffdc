"""Keras: the network and loader of its example "Image classification from scratch"."""

import keras
from keras import layers
from protocol import Bench  # bench

bench = Bench()  # bench
SIZE = (180, 180)


def load(name, **settings):
    return keras.utils.image_dataset_from_directory(
        bench.data / name, image_size=SIZE, batch_size=128, **settings
    )


augmentation = keras.Sequential([layers.RandomFlip("horizontal"), layers.RandomRotation(0.1)])
train = load("train").map(lambda x, y: (augmentation(x, training=True), y)).prefetch(2)


def block(x, width):
    for _ in range(2):
        x = layers.Activation("relu")(x)
        x = layers.SeparableConv2D(width, 3, padding="same")(x)
        x = layers.BatchNormalization()(x)
    return layers.MaxPooling2D(3, strides=2, padding="same")(x)


inputs = keras.Input((*SIZE, 3))
x = layers.Rescaling(1.0 / 255)(inputs)
x = layers.Conv2D(128, 3, strides=2, padding="same")(x)
x = layers.Activation("relu")(layers.BatchNormalization()(x))
for width in (256, 512, 728):
    x = layers.add([block(x, width), layers.Conv2D(width, 1, strides=2, padding="same")(x)])
x = layers.SeparableConv2D(1024, 3, padding="same")(x)
x = layers.Activation("relu")(layers.BatchNormalization()(x))
x = layers.Dropout(0.25)(layers.GlobalAveragePooling2D()(x))
model = keras.Model(inputs, layers.Dense(len(bench.classes), activation="softmax")(x))
model.compile(
    keras.optimizers.Adam(3e-4), loss="sparse_categorical_crossentropy", metrics=["accuracy"]
)
clock = keras.callbacks.LambdaCallback(on_epoch_end=bench.epoch)  # bench
with bench.training():  # bench
    model.fit(train, epochs=bench.epochs, validation_data=load("val"), callbacks=[clock])

test = load("test", labels=None, shuffle=False)
predicted = model.predict(test).argmax(axis=1)
labels = [[bench.classes[number]] for number in predicted]
done = f"epochs: {bench.epochs}"  # bench
bench.report(test.file_paths, labels, weights="random", done=done)  # bench

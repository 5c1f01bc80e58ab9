"""The seed's six runs, ResNet-18 on MNIST, drawn as it drew them and as adaptlr does; then the bad ones again with adaptlr."""

"""What the tests need of RabbitMQ: one node in the place of mosquitto, and checks of a cluster."""

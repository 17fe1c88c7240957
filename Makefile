# Every supported verb carries a `##` text; `make help` lists them.
#
# What a user gives (SOURCE=it's.mp4) is in the environment of every recipe, and is taken from there:
# "$$SSH" is one word, whatever is in it, and the shell reads nothing of it. make itself does: a $ in
# it is written $$. ARGS and CHECKS are words for the shell.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
PYTHON ?= /usr/bin/python3
export PYTHON

.PHONY: help setup run test test-long test-cameras test-system lint homeassistant load
.PHONY: bench bench-sources model runtime runtime-tools runtime-measure test-runtime deb lock clean
.PHONY: flash deploy image provision test-image

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what is missing: Debian packages, .venv
	@deploy/setup.sh dev

# make passes Ctrl-C on and would then print an error of its own for the recipe's status.
run: setup ## show the daemon at work [SOURCE= MODEL= BROKER=host:port CONFIG=]
	@exec .venv/bin/python deploy/run.py "--source=$${SOURCE-}" "--model=$${MODEL-}" \
	  "--broker=$${BROKER-}" "--config=$${CONFIG-}"

# Files run side by side, two for each core, the longest first (tests/conftest.py says which); the ten
# slowest tests are listed at the end. A test that hangs for twenty minutes ends its worker: it fails
# by name, and the others go on.
PYTEST = .venv/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --durations=10
HANGS = -o faulthandler_timeout=1200 -o faulthandler_exit_on_timeout=true
test: lint ## run every test
	@deploy/setup.sh train
	@deploy/setup.sh runtime
	@$(PYTEST) $(HANGS) $(ARGS)

test-long: setup ## the tests that take minutes: outages of the broker, fuzzing
	@FUZZ=long $(PYTEST) -m 'long or fuzz' $(ARGS)

test-cameras: setup ## V4L2 and libcamera themselves, in a virtual machine [CHECKS= OPTIONAL=1]
	@tests/vm/run.sh $(CHECKS)

SUITES ?= bookworm trixie
ARCHS ?= amd64 arm64
export SUITES ARCHS
test-system: setup ## the package in booted Debians [SUITES="bookworm trixie" ARCHS="amd64 arm64"]
	@deploy/setup.sh system
	@tests/system/run.sh "$$SUITES" "$$ARCHS" $(ARGS)

lint: setup ## ruff, mypy --strict, shellcheck
	@.venv/bin/ruff check --quiet edge models deploy tests
	@.venv/bin/ruff format --quiet --check edge models deploy tests
	@.venv/bin/mypy --no-error-summary
	@shellcheck deploy/*.sh deploy/image/*.sh deploy/image/*/usr/lib/edge-image/* tests/vm/*.sh \
	  tests/system/*.sh .ci/run

homeassistant: setup ## does Home Assistant itself find the daemon? Python 3.13.2 or newer
	@deploy/setup.sh homeassistant
	@.venv-homeassistant/bin/python -m pytest --noconftest -c /dev/null -p no:cacheprovider \
	  --rootdir tests/homeassistant -o asyncio_mode=auto -q tests/homeassistant/check_entities.py

load: setup ## many devices against one mosquitto [ARGS='--devices 500 --seconds 30']
	@.venv/bin/python deploy/load.py $(ARGS)

bench: setup ## measure speed and memory here [ARGS=]
	@.venv/bin/edge bench --naive $(ARGS)

bench-sources: setup ## what a frame of each source costs, up to the tensor [ARGS='--seconds 6']
	@.venv/bin/python -m tests.measure_sources $(ARGS)

STEP = @.venv-train/bin/python -m
RECIPE = $(if $(DATA),"--data=$$DATA") $(if $(EXTRA),"--extra=$$EXTRA") \
  $(if $(WEIGHTS),"--weights=$$WEIGHTS") $(if $(TEACHER),"--teacher=$$TEACHER")
model: ## train, evaluate and export the shipped model [DATA= EXTRA= WEIGHTS= TEACHER=]
	@deploy/setup.sh train
	$(STEP) models.dataset $(RECIPE)
	$(STEP) models.teacher $(RECIPE)
	$(STEP) models.train $(RECIPE)
	$(STEP) models.quantise $(RECIPE)
	$(STEP) models.export $(RECIPE)
	$(STEP) models.prune $(RECIPE)
	$(STEP) models.search $(RECIPE)
	$(STEP) models.report $(RECIPE)

RUNTIME = "$$PYTHON" -m deploy.runtime.build $(if $(ARCH),"--arch=$$ARCH") \
  $(if $(SOURCES),"--sources=$$SOURCES")
runtime: ## cross-build the Pi's TFLite [ARCH=arm64|armhf|amd64 PY=3.11|3.13 SOURCES=DIR]
	@$(RUNTIME) $(if $(PY),"--python=$$PY")

runtime-tools: ## the same TFLite as programs: benchmark_model, label_image [ARCH= SOURCES=]
	@$(RUNTIME) --tools

runtime-measure: setup ## count and model what the runtimes cost; writes docs/runtime.md
	@deploy/setup.sh measure
	@.venv/bin/python -m deploy.runtime.measure --write $(ARGS)

test-runtime: setup ## the Pi's TFLite, and packages, in an emulated Debian 12 and 13
	@deploy/setup.sh runtime
	@.venv/bin/python -m pytest -m emulated -s tests $(ARGS)

# These two run on Debian's python3 alone; -B, for root's bytecode is not to stay in a user's clone.
flash: ## write an image to a card, and read it back [DEVICE=/dev/sdX IMAGE= YES=1]
	@deploy/setup.sh flash
	@exec "$$PYTHON" -B -m deploy.card.flash "--device=$${DEVICE-}" "--image=$${IMAGE-}" \
	  "--yes=$${YES-}" "--force=$${FORCE-}" "--serial=$${SERIAL-}"

deploy: ## install the package on Pis that run, over ssh [HOST='user@pi ...' DEB= SSH= TIMEOUT=]
	@deploy/setup.sh flash
	@exec "$$PYTHON" -B -m deploy.remote "--hosts=$${HOST-}" "--deb=$${DEB-}" \
	  $(if $(SSH),"--ssh=$$SSH") $(if $(TIMEOUT),"--timeout=$$TIMEOUT")

deb: ## the Debian package [ARCH=arm64|armhf|amd64 SUITE=bookworm|trixie WHEEL=], after `make runtime`
	@deploy/setup.sh package
	@"$$PYTHON" -m deploy.package.build $(if $(ARCH),"--arch=$$ARCH") \
	  $(if $(SUITE),"--suite=$$SUITE") $(if $(WHEEL),"--runtime=$$WHEEL")

# The package for a suite, and the runtime that it carries where there is none of this version.
PYTHON_bookworm = 3.11
PYTHON_trixie = 3.13
AGAIN = $(MAKE) --no-print-directory
VERSION = $(shell sed -n 's/^VERSION.*"\(.*\)"/\1/p' deploy/runtime/pins.py)
RUNTIME_FOR = [ -z '$(1)' ] || \
  compgen -G 'build/dist/tflite_runtime-$(VERSION)-cp$(subst .,,$(1))-*_aarch64.whl' >/dev/null || \
  { deploy/setup.sh runtime; $(AGAIN) runtime ARCH=arm64 PY=$(1); }
# A SUITE that is neither of the two is refused by the program.
DEB_FOR = $(if $(DEB),,$(if $(WHEEL),,$(call RUNTIME_FOR,$(PYTHON_$(1)));) $(AGAIN) deb ARCH=arm64 SUITE=$(1))
KNOWN = $(if $(SUITE),$(if $(filter bookworm,$(SUITE)),bookworm,$(if $(filter trixie,$(SUITE)),trixie)),trixie)
image: setup ## a card for the Pi 4B [SUITE=trixie|bookworm CONFIG=site.toml DEB=FILE FRESH=1]
	@deploy/setup.sh image
	@$(if $(KNOWN),$(call DEB_FOR,$(KNOWN)))
	@.venv/bin/python -m deploy.image.build $(if $(SUITE),"--suite=$$SUITE") \
	  $(if $(CONFIG),"--config=$$CONFIG") $(if $(DEB),"--deb=$$DEB") $(if $(FRESH),--fresh)

provision: setup ## the same put onto BASE=raspios-lite.img[.xz] [CONFIG=site.toml DEB=FILE]
	@deploy/setup.sh image
	@.venv/bin/python -m deploy.image.provision "--base=$${BASE-}" \
	  $(if $(CONFIG),"--config=$$CONFIG") $(if $(DEB),"--deb=$$DEB")

test-image: setup ## build cards of both suites and boot them, emulated: an hour
	@deploy/setup.sh image
	@$(call DEB_FOR,trixie)
	@$(call DEB_FOR,bookworm)
	@.venv/bin/python -m pytest -m image -n 2 --dist loadfile -vv -rP tests/image $(ARGS)

lock: setup ## pin the newest versions that pyproject.toml allows
	@for extra in dev train; do \
	  .venv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	    --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate \
	    --custom-compile-command 'make lock' \
	    --extra $$extra -o deploy/lock/$$extra.txt pyproject.toml; \
	done
	@.venv/bin/uv pip compile --quiet --no-deps --python-version 3.13 \
	  --python-platform x86_64-manylinux_2_28 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-annotate --custom-compile-command 'make lock' \
	  -c deploy/lock/dev.txt -o tests/vm/requirements.txt tests/vm/requirements.in
	@for file in package package-backend; do \
	  .venv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	    --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate \
	    --custom-compile-command 'make lock' -c deploy/lock/dev.txt \
	    -o deploy/lock/$$file.txt deploy/lock/$$file.in; \
	done
	@.venv/bin/uv pip compile --quiet --upgrade --python-version 3.13.2 \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate \
	  --custom-compile-command 'make lock' \
	  -o deploy/lock/homeassistant.txt deploy/lock/homeassistant.in

clean: ## remove what was built and installed here
	@rm -rf build dist .venv .venv-train .venv-homeassistant .mypy_cache .ruff_cache

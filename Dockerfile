# The server with U²-Net† in it, which needs no network:
#
#   docker build -t u2net-hf .
#   docker run --rm -p 8000:8000 u2net-hf
#   curl -sf --data-binary @photo.jpg localhost:8000/remove > cut-out.png
#
# A model of your own: docker run ... -v "$PWD/my-model:/models/my-model:ro" u2net-hf serve --host 0.0.0.0 -m /models/my-model
# With CUDA: docker build --build-arg TORCH_INDEX= ..., and docker run --gpus all ...

FROM python:3.11-slim AS build
ARG TORCH_INDEX="--extra-index-url https://download.pytorch.org/whl/cpu"
WORKDIR /build
COPY . .
RUN python -m venv /opt/u2net-hf \
    && /opt/u2net-hf/bin/pip install --no-cache-dir --no-compile $TORCH_INDEX \
       --constraint constraints.txt '.[serve]'

FROM python:3.11-slim
COPY --from=build /opt/u2net-hf /opt/u2net-hf
# The user's number, not its name, lets Kubernetes see that it is not root.
RUN useradd --uid 10001 --create-home u2net
USER 10001
WORKDIR /home/u2net
# Where models are put that are asked for by name, and what numba compiles for the matting.
ENV PATH=/opt/u2net-hf/bin:$PATH \
    HF_HOME=/home/u2net/models \
    NUMBA_CACHE_DIR=/tmp/numba
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD \
    ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["u2net-hf"]
CMD ["serve", "--host", "0.0.0.0"]

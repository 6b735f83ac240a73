# One image for all functions, for Cloud Run and Kubernetes; FUNCTION_TARGET names the function of a container.
#     git archive HEAD Dockerfile main.py requirements.txt functions shared | docker build -t llm-runs -
#     docker run -e FUNCTION_TARGET=read_runs -e BACKEND=gcp … -p 8080:8080 llm-runs
FROM python:3.13-slim

ENV PYTHONUNBUFFERED=1 PORT=8080 FUNCTION_TARGET=submit_run
WORKDIR /app
COPY requirements.txt ./
RUN pip install --no-cache-dir --require-hashes -r requirements.txt
COPY main.py ./
COPY functions functions
COPY shared shared
RUN python -m compileall -q .
USER 65532:65532
EXPOSE 8080
CMD ["functions-framework"]
